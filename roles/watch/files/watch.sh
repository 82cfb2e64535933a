#!/bin/sh
# Written by shoal's role `watch`; changes are overwritten.
# Runs the site's inference image, whichever the last deploy placed, over the machine's own footage.
set -eu
image=$(sed -n 's/.*"reference": *"\([^"]*\)".*/\1/p' /var/lib/shoal/image.json)
[ -n "$image" ] || { echo "there is no inference image on this machine: shoal site deploy" >&2; exit 1; }
# No log of the engine's: systemd's journal has the lines.
exec /usr/bin/docker run --rm --name shoal-watch --pull never --log-driver none \
    --network none --read-only --tmpfs /tmp \
    --cap-drop ALL --cap-add DAC_OVERRIDE --security-opt no-new-privileges --pids-limit 512 \
    --cpu-shares @CPU_SHARES@ --memory @MEMORY_BYTES@ --memory-swap @MEMORY_BYTES@ \
    --label shoal.watch=1 \
    --mount type=bind,source=/videos,target=/videos,readonly \
    --mount type=bind,source=@WEIGHTS@,target=/weights.onnx,readonly \
    --mount type=bind,source=/etc/shoal/watch/settings.json,target=/settings.json,readonly \
    --mount type=bind,source=@STATE@,target=/state \
    "$image" watch --settings /settings.json --input /videos --state /state
