# Push the image to the site's registry and put its digest on record.
set -eu
[ "$PUSH" = no ] || docker push -q "$TAG" >/dev/null
digest=$(curl -fsSI --noproxy '*' -m 10 -H "Accept: $MANIFEST_TYPE" "$URL" | tr -d '\r' |
    awk 'tolower($1)=="docker-content-digest:" {print $2}')
case $digest in
    sha256:*) ;;
    *) echo "the registry gives no digest for $TAG" >&2; exit 1 ;;
esac
printf '%s\n' "$TEMPLATE" | sed "s/@DIGEST@/$digest/g" > "$RECORD.part"
mv -f "$RECORD.part" "$RECORD"
# The registry keeps this image and the one before it (nodes that were away may still run that); older ones of ours go.
# What they alone used is given back by the registry's own clean-up.
manifests=${URL%/*}
digest_of() {
    curl -fsSI --noproxy '*' -m 10 -H "Accept: $MANIFEST_TYPE" "$manifests/$1" 2>/dev/null | tr -d '\r' |
        awk 'tolower($1)=="docker-content-digest:" {print $2}'
}
kept=" $digest $([ -z "$BEFORE" ] || digest_of "$BEFORE") "
tags=$(curl -fsS --noproxy '*' -m 10 "${manifests%/*}/tags/list" | sed 's/.*"tags":\[//; s/\].*//' | tr -d '"' | tr ',' '\n')
for tag in $(echo "$tags" | grep -xE '[0-9a-f]{16}' || true); do
    old=$(digest_of "$tag")
    case $kept in *" $old "*) continue ;; esac
    [ -z "$old" ] || curl -fsS --noproxy '*' -m 10 -X DELETE "$manifests/$old"
done
# Earlier versions leave this engine: the registry and the nodes that run them have their own.
for old in $(docker images --format '{{.Repository}}:{{.Tag}}' "${TAG%:*}" | grep -vxF "$TAG"); do
    docker image rm "$old" >/dev/null || echo "kept $old: still in use" >&2
done
docker image prune -f --filter "label=$LABEL" >/dev/null
