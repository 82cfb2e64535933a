# Give the machine back the name that it had, where it still bears the one we gave it. Variable: RECORD.
set -eu
of() { sed -n "s/^$1 //p" "$RECORD"; }
ours=$(of set)
if [ "$(cat /etc/hostname 2>/dev/null)" = "$ours" ]; then
    if [ -n "$(of file)" ]; then of file >/etc/hostname; else rm -f /etc/hostname; fi
fi
[ "$(hostname)" != "$ours" ] || hostname "$(of kernel)"
added=$(of hosts)
if [ -n "$added" ]; then
    kept=$(awk -v line="127.0.1.1$(printf '\t')$added" '$0 != line' /etc/hosts)
    printf '%s\n' "$kept" >/etc/hosts
fi
rm -f "$RECORD"
