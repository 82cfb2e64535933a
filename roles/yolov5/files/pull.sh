# Pull by digest, assert what the engine says of it, put it on record.
set -eu
docker pull -q "$REFERENCE" >/dev/null
case $(docker image inspect --format '{{json .RepoDigests}}' "$REFERENCE") in
    *"$REFERENCE"*) ;;
    *) echo "the engine does not know $REFERENCE by its digest" >&2; exit 1 ;;
esac
have=$(docker image inspect --format '{{.Architecture}}' "$REFERENCE")
want=$(docker version --format '{{.Server.Arch}}')
[ "$have" = "$want" ] || { echo "the image is for $have, this machine is $want" >&2; exit 1; }
printf '%s\n' "$TEXT" > "$RECORD.part"
mv -f "$RECORD.part" "$RECORD"
# The one before: it stays only where a container still uses it, which docker refuses to remove.
[ -z "$BEFORE" ] || docker image rm "$BEFORE" >/dev/null 2>&1 || echo "kept $BEFORE: still in use" >&2
