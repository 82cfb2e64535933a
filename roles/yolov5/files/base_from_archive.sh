# The base image from an archive: of `docker save` (it has a manifest), or of bare files.
set -eu
trap 'rm -f "$ARCHIVE"' EXIT
if tar -tf "$ARCHIVE" manifest.json >/dev/null 2>&1; then
    name=$(docker load -q -i "$ARCHIVE" | sed -n 's/^Loaded image\( ID\)\?: //p' | head -n 1)
    [ -n "$name" ] || { echo "the archive holds no image" >&2; exit 1; }
    docker tag "$name" "$TAG"
else
    docker import "$ARCHIVE" "$TAG" >/dev/null
fi
