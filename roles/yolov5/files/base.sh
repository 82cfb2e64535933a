# The base image from a registry, if one answers within a short limit; else made from this machine's own apt sources.
set -eu
umask 022
mkdir -p "$FOLDER"
# Held as long as anything of this build is at work: a teardown finds by it what outlived a deploy that was cut off.
exec 9>>"$FOLDER/lock"
flock 9
answers=no
case $SOURCE in
    auto) if timeout "$PROBE_TIMEOUT_S" docker manifest inspect "$IMAGE" >/dev/null 2>&1; then answers=yes; fi ;;
    pull) answers=yes ;;
esac
if [ "$answers" = yes ]; then
    there=$(docker image inspect --format yes "$IMAGE" 2>/dev/null || true)
    docker pull -q "$IMAGE" >/dev/null
    printf 'FROM %s\nLABEL %s\n' "$IMAGE" "$LABEL" | DOCKER_BUILDKIT=0 docker build -q -t "$TAG" - >/dev/null
    # Its name goes again where the owner did not have it: at teardown only what bears our label is ours.
    [ -n "$there" ] || docker image rm "$IMAGE" >/dev/null
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
. /etc/os-release
# apt itself says which sources hold, in whatever format they are written.
mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v suite="$VERSION_CODENAME" '$2 == suite && $3 == "main" { print $4; exit }')
[ -n "$mirror" ] || { echo "no registry answers, and apt has no source for $VERSION_CODENAME main" >&2; exit 1; }
# Refused where anything would be removed for it, and on record before it comes.
command -v debootstrap >/dev/null || sh -c "$INSTALL"
rm -rf --one-file-system "$FOLDER/base" "$FOLDER/base.tar"
trap 'rm -rf "$FOLDER/base" "$FOLDER/base.tar"' EXIT
debootstrap --variant=minbase --include="$PACKAGES" "$VERSION_CODENAME" "$FOLDER/base" "$mirror" >"$FOLDER/debootstrap.log" 2>&1 || {
    tail -n 20 "$FOLDER/debootstrap.log" >&2
    exit 1
}
tar -C "$FOLDER/base" --sort=name --mtime=@315532800 --numeric-owner --exclude='./var/cache/apt/archives/*.deb' --exclude='./var/lib/apt/lists/*' --exclude='./dev/*' \
    --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/doc/*/changelog*' \
    -cf "$FOLDER/base.tar" .
docker import -c "LABEL $LABEL" "$FOLDER/base.tar" "$TAG" >/dev/null
