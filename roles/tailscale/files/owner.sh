# Whether a Tailscale daemon is on this machine that did not come with us: a line with what it is. Reads only.
# Variables: PACKAGES, PLACED (records of our packages and files), UNIT_FILE (ours, where binaries are given).
there=$(command -v tailscaled 2>/dev/null || true)
[ -n "$there" ] || [ "$(systemctl show tailscaled.service -p LoadState --value 2>/dev/null)" = loaded ] || exit 0
if grep -qxs tailscale "$PACKAGES" || awk '{ print $2 }' "$PLACED" 2>/dev/null | grep -qxF "$UNIT_FILE"; then exit 0; fi
# Placed before files went on record.
if grep -qs "by shoal's role" "$UNIT_FILE"; then exit 0; fi
echo "owner ${there:-tailscaled.service}"
