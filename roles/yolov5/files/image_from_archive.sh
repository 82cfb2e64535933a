# The finished image from an archive of `docker save`. Variables: ARCHIVE, TAG.
set -eu
trap 'rm -f "$ARCHIVE"' EXIT
# Loading gives it the archive's own name as well, and takes that from an image of the owner's that bears it.
named=$(tar -xOf "$ARCHIVE" manifest.json 2>/dev/null | sed -n 's/.*"RepoTags": *\["\([^"]*\)".*/\1/p')
before=$([ -z "$named" ] || docker image inspect --format '{{.Id}}' "$named" 2>/dev/null || true)
name=$(docker load -q -i "$ARCHIVE" | sed -n 's/^Loaded image\( ID\)\?: //p' | head -n 1)
[ -n "$name" ] || { echo "the archive holds no image" >&2; exit 1; }
docker tag "$name" "$TAG"
if [ -n "$before" ]; then
    docker tag "$before" "$named"
elif [ -n "$named" ] && [ "$named" != "$TAG" ]; then
    docker image rm "$named" >/dev/null
fi
