# The state of a systemd unit, when its process started, and when each file that it reads was written. Reads only.
# Variables: UNIT, OBJECT_PATH (the unit's on D-Bus), FILES (one a line; may be empty).
systemctl show "$UNIT" -p LoadState -p ActiveState -p UnitFileState -p NeedDaemonReload
# A timer or a socket has no process: what counts is when it became active.
case $UNIT in
    *.timer | *.socket | *.mount | *.path) interface=Unit moment=ActiveEnterTimestamp ;;
    *) interface=Service moment=ExecMainStartTimestamp ;;
esac
# D-Bus gives microseconds, systemctl whole seconds.
started=$(busctl get-property org.freedesktop.systemd1 "$OBJECT_PATH" "org.freedesktop.systemd1.$interface" \
    "$moment" 2>/dev/null | cut -d' ' -f2)
if [ -n "$started" ]; then
    echo "StartedUsec=$started"
else
    stamp=$(LC_ALL=C systemctl show -p "$moment" --value "$UNIT")
    echo "StartedSec=$(date -d "$stamp" +%s 2>/dev/null)"
fi
printf '%s\n' "$FILES" | while read -r file; do
    [ ! -e "$file" ] || stat -c 'Config=%.9Y' "$file"
done
echo "Container=$(systemd-detect-virt --container 2>/dev/null)"
