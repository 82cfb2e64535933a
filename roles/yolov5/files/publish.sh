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
# Earlier versions leave this engine: the registry and the nodes that run them have their own.
for old in $(docker images --format '{{.Repository}}:{{.Tag}}' "${TAG%:*}" | grep -vxF "$TAG"); do
    docker image rm "$old" >/dev/null || echo "kept $old: still in use" >&2
done
docker image prune -f --filter "label=$LABEL" >/dev/null
