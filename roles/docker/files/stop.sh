# Stop an engine of ours and take away what it has made: data, mounts, its bridge, its rules, its kernel settings.
# Variables: UNITS, DATA (folders to empty), KEPT (the engine's folder where it held data before, else empty), ENTRIES
# (the names in it before), FORWARD (policy of before), SYSCTL (lines `PATH VALUE` of before).
set -eu
# shellcheck disable=SC2086 # names, one a word
for unit in $UNITS; do
    if [ -d /run/systemd/system ]; then systemctl stop "$unit" 2>/dev/null || ! systemctl is-active -q "$unit"; fi
done
case $UNITS in *containerd*) runs='/run/(docker|containerd)/' ;; *) runs=/run/docker/ ;; esac
awk -v runs="^$runs" '$5 ~ runs { print $5 }' /proc/self/mountinfo | sort -r | while read -r place; do
    umount "$place"
done
rm -rf /run/docker /run/docker.pid
# shellcheck disable=SC2086
for folder in $DATA; do
    # It may be a mount of its own, and then cannot go itself.
    [ ! -d "$folder" ] || find "$folder" -xdev -mindepth 1 -delete
done
if [ -n "$KEPT" ] && [ -n "$ENTRIES" ]; then
    find "$KEPT" -mindepth 1 -maxdepth 1 -printf '%f\n' | while read -r name; do
        # What the engine of ours has made beside what was there.
        case " $ENTRIES " in *" $name "*) ;; *) rm -rf --one-file-system -- "${KEPT:?}/$name" ;; esac
    done
fi
# Made by the engine for itself at its first start.
rm -f /etc/docker/key.json
[ ! -d /sys/class/net/docker0 ] || ip link delete docker0
for tool in iptables ip6tables; do
    command -v "$tool" >/dev/null || continue
    for table in filter nat; do
        rules=$("$tool" -w 10 -t "$table" -S 2>/dev/null) || continue
        # Names that begin with DOCKER_ (with an underscore) are not this engine's.
        printf '%s\n' "$rules" | grep -E -- '^-A .*(-j DOCKER(-[A-Z0-9-]+)?( |$)|docker0)' | grep -vE '^-A DOCKER(-| )' |
            sed 's/^-A/-D/' | while read -r rule; do
            # shellcheck disable=SC2086
            "$tool" -w 10 -t "$table" $rule
        done
        chains=$(printf '%s\n' "$rules" | awk '$1 == "-N" && $2 ~ /^DOCKER(-[A-Z0-9-]+)?$/ { print $2 }')
        for chain in $chains; do
            # What the owner wrote into DOCKER-USER stays with its chain.
            if [ "$chain" = DOCKER-USER ] && printf '%s\n' "$rules" | grep -E '^-A DOCKER-USER ' | grep -qv -- '-j RETURN$'; then
                echo "kept the chain DOCKER-USER: it has rules that are not the engine's" >&2
                continue
            fi
            "$tool" -w 10 -t "$table" -F "$chain"
        done
        for chain in $chains; do "$tool" -w 10 -t "$table" -X "$chain" 2>/dev/null || true; done
    done
done
# The engine closes forwarding where it opened it; back to what was.
if [ -n "$FORWARD" ] && command -v iptables >/dev/null; then iptables -w 10 -P FORWARD "$FORWARD"; fi
printf '%s\n' "$SYSCTL" | while read -r name value; do
    [ -n "$name" ] || continue
    # One that the machine's own settings ask for is not the engine's.
    dotted=$(printf %s "$name" | tr / .)
    if grep -rqsE "^[[:space:]]*(${dotted}|${name})[[:space:]]*=" /etc/sysctl.conf /etc/sysctl.d /run/sysctl.d; then continue; fi
    [ "$(cat "/proc/sys/$name" 2>/dev/null)" = "$value" ] || [ ! -w "/proc/sys/$name" ] || echo "$value" >"/proc/sys/$name"
done
# The purge of the distribution's package wipes the data folder with a program that its removal leaves there: taken away
# in between where data of before lie in it.
if [ -n "$KEPT" ]; then
    export DEBIAN_FRONTEND=noninteractive
    ! dpkg -s docker.io >/dev/null 2>&1 || dpkg --remove --force-depends docker.io
    rm -f "$KEPT/nuke-graph-directory.sh"
fi
