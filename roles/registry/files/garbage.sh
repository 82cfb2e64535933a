# Give back what no image uses any more. Variables: UNIT (the registry, which stands still meanwhile), CONFIG.
set -e
trap 'systemctl start "$UNIT"' EXIT
systemctl stop "$UNIT"
docker-registry garbage-collect "$CONFIG" >/dev/null
