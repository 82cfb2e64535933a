# Push the image to the site's registry on loopback and put its digest on record: the one that this machine's own engine
# gives. What the registry says is compared with it and never adopted.
set -eu
digest_of() {
    curl -fsSI --noproxy '*' -m 10 -H "Accept: $MANIFEST_TYPE" "$manifests/$1" 2>/dev/null | tr -d '\r' |
        awk 'tolower($1)=="docker-content-digest:" {print $2}'
}
manifests=${URL%/*}
digest=$PUBLISHED
if [ -z "$digest" ]; then
    docker push -q "$TAG" >/dev/null
    digest=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$TAG" |
        sed -n "s#^${TAG%:*}@##p" | tail -n 1)
fi
case $digest in
    sha256:*) ;;
    *) echo "the engine gives no digest for $TAG" >&2; exit 1 ;;
esac
found=$(digest_of "${URL##*/}")
[ "$found" = "$digest" ] || {
    echo "the registry has ${found:-nothing} as $TAG, and this machine pushed $digest: not put on record" >&2
    exit 1
}
touch "$BUILDS"
{ grep -v "^$CONTEXT " "$BUILDS" || true; echo "$CONTEXT $digest"; } | tail -n 16 > "$BUILDS.part"
mv -f "$BUILDS.part" "$BUILDS"
printf '%s\n' "$TEMPLATE" | sed "s/@DIGEST@/$digest/g" > "$RECORD.part"
mv -f "$RECORD.part" "$RECORD"
# The registry keeps this image and the one before it (nodes that were away may still run that); older ones of ours go.
# So do those that a run needs which is not finished, the latest first and within the limit.
# What they alone used is given back by the registry's own clean-up.
kept=" $digest $([ -z "$BEFORE" ] || digest_of "$BEFORE") "
spent=0
needed_ids=" "
for reference in $(needed); do
    size=$(curl -fsS --noproxy '*' -m 10 -H "Accept: $MANIFEST_TYPE" "$manifests/${reference#*@}" 2>/dev/null |
        tr -d ' \n' | grep -o '"size":[0-9]*' | awk -F: '{ sum += $2 } END { printf "%.0f", sum }') || size=0
    spent=$((spent + ${size:-0}))
    [ "$spent" -gt "$KEEP_BYTES" ] || kept="$kept${reference#*@} "
    needed_ids="$needed_ids$(docker image inspect --format '{{.Id}}' "$reference" 2>/dev/null || true) "
done
tags=$(curl -fsS --noproxy '*' -m 10 "${manifests%/*}/tags/list" | sed 's/.*"tags":\[//; s/\].*//' | tr -d '"' | tr ',' '\n')
for tag in $(echo "$tags" | grep -xE '[0-9a-f]{16}' || true); do
    old=$(digest_of "$tag")
    case $kept in *" $old "*) continue ;; esac
    [ -z "$old" ] || curl -fsS --noproxy '*' -m 10 -X DELETE "$manifests/$old"
done
# Earlier versions leave this engine: the registry and the nodes that run them have their own. What was pulled by digest
# has no tag, and belongs to the compute node that this machine may be as well.
for old in $(docker images --format '{{.Repository}}:{{.Tag}}' --filter "reference=*/$REPOSITORY" |
    grep -v ':<none>$' | grep -vxF "$TAG"); do
    # Where the requester computes too: with its last name the image would go that a run here needs by its digest.
    case $needed_ids in *" $(docker image inspect --format '{{.Id}}' "$old") "*) continue ;; esac
    docker image rm "$old" >/dev/null || echo "kept $old: still in use" >&2
done
docker image prune -f --filter "label=$LABEL" >/dev/null
