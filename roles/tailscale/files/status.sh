# The daemon's state as JSON, a line `---prefs`, then those of its settings that the role knows. Reads only.
# Variables: LIMIT_S, MASK (for sed: takes keys out of what is said), PREFS (a Python program that picks the settings).
command -v tailscale >/dev/null && [ -S /run/tailscale/tailscaled.sock ] || exit 0
{ timeout "$LIMIT_S" tailscale status --json --peers=false 2>/dev/null || true; } | sed -E "$MASK"
echo
echo ---prefs
timeout "$LIMIT_S" tailscale debug prefs 2>/dev/null | python3 -c "$PREFS" 2>/dev/null || true
