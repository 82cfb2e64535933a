# The base image from an archive: of `docker save` (it has a manifest), or of bare files. Its label is inherited by
# everything that is built on it, so that all of that can be found again.
set -eu
trap 'rm -f "$ARCHIVE"' EXIT
if tar -tf "$ARCHIVE" manifest.json >/dev/null 2>&1; then
    # Loading gives it the archive's own name as well, and takes that from an image of the owner's that bears it.
    named=$(tar -xOf "$ARCHIVE" manifest.json | sed -n 's/.*"RepoTags": *\["\([^"]*\)".*/\1/p')
    before=$([ -z "$named" ] || docker image inspect --format '{{.Id}}' "$named" 2>/dev/null || true)
    name=$(docker load -q -i "$ARCHIVE" | sed -n 's/^Loaded image\( ID\)\?: //p' | head -n 1)
    [ -n "$name" ] || { echo "the archive holds no image" >&2; exit 1; }
    printf 'FROM %s\nLABEL %s\n' "$name" "$LABEL" | DOCKER_BUILDKIT=0 docker build -q -t "$TAG" - >/dev/null
    if [ -n "$before" ]; then
        docker tag "$before" "$named"
    elif [ -n "$named" ] && [ "$named" != "$TAG" ]; then
        docker image rm "$named" >/dev/null
    fi
else
    docker import -c "LABEL $LABEL" "$ARCHIVE" "$TAG" >/dev/null
fi
