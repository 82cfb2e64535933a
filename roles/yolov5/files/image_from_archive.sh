# The finished image from an archive of `docker save`.
set -eu
trap 'rm -f "$ARCHIVE"' EXIT
name=$(docker load -q -i "$ARCHIVE" | sed -n 's/^Loaded image\( ID\)\?: //p' | head -n 1)
[ -n "$name" ] || { echo "the archive holds no image" >&2; exit 1; }
docker tag "$name" "$TAG"
