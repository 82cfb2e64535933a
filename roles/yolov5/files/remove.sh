# Every image of ours in this engine: the published ones, the stages of their builds, the base, and unnamed leftovers.
set -eu
for pattern in "*/$REPOSITORY" "$STAGES" "$BASE"; do
    ids=$(docker images -q --no-trunc --filter "reference=$pattern" | sort -u)
    [ -z "$ids" ] || docker image rm -f $ids >/dev/null
    docker image prune -f --filter "label=$LABEL" >/dev/null
done
