# `tailscale up`; its last words, without the key, go into SAID. Always ends well: what came of it is asked of the daemon.
# The key comes on standard input and lies in a file of mode 0600 in memory for as long as the command takes.
# Variables: ARGUMENTS (quoted words), LIMIT_S, KEYS (how key files begin), GIVEN (yes: there is a key), MASK (for
# sed: takes keys out of what is said), SAID.
umask 077
rm -f "$KEYS"*
key=
trap '[ -z "$key" ] || rm -f "$key"' EXIT
trap 'exit 1' HUP INT TERM
eval "set -- $ARGUMENTS"
if [ "$GIVEN" = yes ]; then
    key=$(mktemp "${KEYS}XXXXXX")
    cat >"$key"
    set -- "--auth-key=file:$key" "$@"
fi
without_key() { if [ -n "$key" ]; then grep -vF -f "$key"; else cat; fi; }
{ timeout "$LIMIT_S" tailscale up "$@" 2>&1 </dev/null || echo "exit code $?"; } |
    { without_key || true; } | sed -E "$MASK" | tail -n 5 >"$SAID"
exit 0
