# Set the machine's name; the one before is recorded first. Variables: WANTED, RECORD.
# Written in place and without hostnamectl: in a container both files are mounts and there is no hostnamed.
set -eu
if [ ! -e "$RECORD" ]; then
    umask 022
    mkdir -p "${RECORD%/*}"
    {
        [ ! -f /etc/hostname ] || echo "file $(cat /etc/hostname)"
        echo "kernel $(hostname)"
        getent hosts "$WANTED" >/dev/null || echo "hosts $WANTED"
        echo "set $WANTED"
    } >"$RECORD.part"
    mv -f "$RECORD.part" "$RECORD"
fi
[ "$(cat /etc/hostname 2>/dev/null)" = "$WANTED" ] || echo "$WANTED" >/etc/hostname
[ "$(hostname)" = "$WANTED" ] || hostname "$WANTED"
# So that sudo does not look for it in vain.
getent hosts "$WANTED" >/dev/null || printf '127.0.1.1\t%s\n' "$WANTED" >>/etc/hosts
