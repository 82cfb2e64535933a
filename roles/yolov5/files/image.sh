# The finished image from a registry if one is named and has it, else built here.
set -eu
umask 022
mkdir -p "$FOLDER"
exec 9>>"$FOLDER/lock"
flock 9
trap 'rm -rf "$ARCHIVE" "$FOLDER/context" "$FOLDER/settled.tar"' EXIT
if [ -n "$IMAGE" ]; then
    if [ "$SOURCE" = pull ] || { [ "$SOURCE" = auto ] && timeout "$PROBE_TIMEOUT_S" docker manifest inspect "$IMAGE" >/dev/null 2>&1; }; then
        docker pull -q "$IMAGE" >/dev/null
        docker tag "$IMAGE" "$TAG"
        exit 0
    fi
fi
rm -rf "$FOLDER/context"
mkdir -p "$FOLDER/context/$SETTINGS"
chmod 700 "$FOLDER"
tar -C "$FOLDER/context" -xzf "$ARCHIVE"
# What this machine needs to reach a package index; the image's first stage uses it, its last one does not have it.
for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    [ ! -f "$file" ] || cp "$file" "$FOLDER/context/$SETTINGS/"
done
# A login shell's proxies: sudo and services may have dropped them. docker knows these arguments and keeps them out of the image.
[ ! -r /etc/environment ] || { set -a; . /etc/environment; set +a; }
log=$FOLDER/build.log
build() {
    DOCKER_BUILDKIT=0 docker build --force-rm --network "$NETWORK" --build-arg BASE="$BASE" \
        --build-arg http_proxy --build-arg https_proxy --build-arg no_proxy \
        --build-arg HTTP_PROXY --build-arg HTTPS_PROXY --build-arg NO_PROXY \
        ${ORIGIN:+--build-arg SOURCE="$ORIGIN"} "$@" "$FOLDER/context" >>"$log" 2>&1 || { tail -n 30 "$log" >&2; exit 1; }
}
: > "$log"
# Earlier stages get names: they are the cache of the next build, and can be found again to be removed.
for stage in $(awk 'toupper($1)=="FROM" && toupper($(NF-1))=="AS" {print tolower($NF)}' "$FOLDER/context/Dockerfile"); do
    build --target "$stage" -t "$STAGES:$stage"
done
build -t "$STAGES:unsettled"
# The same files give the same image, bit for bit: a requester that was made anew publishes the digest it had before.
docker save "$STAGES:unsettled" |
    docker run --rm -i --network none --entrypoint python3 -v "$FOLDER/context/settle-image:/settle-image:ro" \
        "$STAGES:unsettled" /settle-image "$TAG" > "$FOLDER/settled.tar" || { echo "the built image could not be settled" >&2; exit 1; }
docker load -q -i "$FOLDER/settled.tar" >/dev/null
docker image rm "$STAGES:unsettled" >/dev/null
