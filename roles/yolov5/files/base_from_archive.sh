# The base image from an archive: of `docker save` (it has a manifest), or of bare files. Its label is inherited by
# everything that is built on it, so that all of that can be found again.
set -eu
trap 'rm -f "$ARCHIVE"' EXIT
if tar -tf "$ARCHIVE" manifest.json >/dev/null 2>&1; then
    name=$(docker load -q -i "$ARCHIVE" | sed -n 's/^Loaded image\( ID\)\?: //p' | head -n 1)
    [ -n "$name" ] || { echo "the archive holds no image" >&2; exit 1; }
    printf 'FROM %s\nLABEL %s\n' "$name" "$LABEL" | DOCKER_BUILDKIT=0 docker build -q -t "$TAG" - >/dev/null
else
    docker import -c "LABEL $LABEL" "$ARCHIVE" "$TAG" >/dev/null
fi
