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
# Others of ours go, unless a run that is not finished needs them and they are within the limit. Docker itself refuses to
# remove what a container still uses.
kept=" $REFERENCE "
spent=0
for reference in $(needed); do
    size=$(docker image inspect --format '{{.Size}}' "$reference" 2>/dev/null) || continue
    [ "$reference" = "$REFERENCE" ] || spent=$((spent + size))
    if [ "$spent" -gt "$KEEP_BYTES" ]; then
        echo "$reference goes, although a run needs it: images of unfinished runs take more than $KEEP_BYTES bytes" >&2
    else
        kept="$kept$reference "
    fi
done
for old in $BEFORE $(docker images --digests --format '{{.Repository}}@{{.Digest}}' | grep -F "/$REPOSITORY@sha256:" || true); do
    case $kept in *" $old "*) continue ;; esac
    docker image inspect "$old" >/dev/null 2>&1 || continue
    docker image rm "$old" >/dev/null 2>&1 || echo "kept $old: still in use" >&2
done
