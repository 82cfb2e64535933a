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
