# What the requester has of the inference image, and what the site's registry says of its tag: lines `KEY VALUE`.
# Reads only. Variables: RECORD, BUILDS, CONTEXT, TAG, BASE_TAG, REPOSITORY (as the requester pushes it), MANIFEST_URL,
# MANIFEST_TYPE.
id_of() { docker image inspect --format '{{.Id}}' "$1" 2>/dev/null; }
echo "record $(cat "$RECORD" 2>/dev/null)"
echo "built $(awk -v context="$CONTEXT" '$1 == context { print $2 }' "$BUILDS" 2>/dev/null | tail -n 1)"
echo "pushed $(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$TAG" 2>/dev/null |
    sed -n "s#^$REPOSITORY@##p" | head -n 1)"
echo "local $(id_of "$TAG")"
echo "base $(id_of "$BASE_TAG")"
echo "digest $(curl -fsSI --noproxy '*' -m 5 -H "Accept: $MANIFEST_TYPE" "$MANIFEST_URL" 2>/dev/null |
    tr -d '\r' | awk 'tolower($1) == "docker-content-digest:" { print $2 }')"
