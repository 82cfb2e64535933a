# The packet filter of the site on this machine: lines `file SHA256`, `kernel yes`, `boot STATE`, `clock STATE`. Reads only.
# Variables: RULES (file), TABLE, CHAIN (named after the rules it holds), UNIT, TIMER (which takes new rules back).
[ ! -f "$RULES" ] || echo "file $(sha256sum <"$RULES" | cut -d' ' -f1)"
# shellcheck disable=SC2086 # a family and a name
! nft list chain $TABLE "$CHAIN" >/dev/null 2>&1 || echo "kernel yes"
echo "boot $(systemctl is-enabled "$UNIT" 2>/dev/null)"
echo "clock $(systemctl is-active "$TIMER" 2>/dev/null)"
