# Have a running engine read its settings anew: no container notices. Variables: UNIT, REGISTRIES (that it has to trust
# then), WAIT_S.
set -eu
systemctl reload "$UNIT"
end=$(($(date +%s) + WAIT_S))
for registry in $REGISTRIES; do
    until docker info --format '{{range $name, $entry := .RegistryConfig.IndexConfigs}}{{if not $entry.Secure}}{{$name}} {{end}}{{end}}' |
        tr ' ' '\n' | grep -qxF "$registry"; do
        [ "$(date +%s)" -lt "$end" ] || {
            echo "the engine was told to read its settings anew, and does not take $registry over; its last lines:" >&2
            journalctl --no-pager --lines 10 --unit "$UNIT" >&2
            exit 1
        }
        sleep 0.2
    done
done
