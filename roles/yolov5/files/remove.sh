# Every image of ours in this engine: those that bear our label, and those that are on record by name.
# Variables: REPOSITORY, STAGES, BASE (names), LABEL, RECORD (file).
set -eu
# What a build that was cut off left. One that runs is a job, and keeps its image.
for status in created exited dead; do
    docker ps -aq --filter "label=$LABEL" --filter "status=$status" | while read -r id; do docker rm "$id" >/dev/null; done
done
for pattern in "*/$REPOSITORY" "$STAGES" "$BASE"; do
    ids=$(docker images -q --no-trunc --filter "reference=$pattern" --filter "label=$LABEL" | sort -u)
    # shellcheck disable=SC2086 # ids, one a word
    [ -z "$ids" ] || docker image rm -f $ids >/dev/null
    docker image prune -f --filter "label=$LABEL" >/dev/null
done
# A finished image from elsewhere does not bear the label: the names that we gave it go, and it only with its last one.
for name in $(grep -oE '"(reference|tag)": "[^"]*"' "$RECORD" 2>/dev/null | cut -d '"' -f 4); do
    ! docker image inspect "$name" >/dev/null 2>&1 || docker image rm "$name" >/dev/null
done
