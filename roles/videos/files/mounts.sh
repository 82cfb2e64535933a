# The mounts of camera folders on this machine: lines `unit NAME SHA256 WHERE ENABLED` and `place TARGET SOURCE SHOWS
# OPTIONS`. Reads only. Arguments: the mark of our units, then a camera's folder and its place, as often as there are.
for unit in /etc/systemd/system/*.mount; do
    grep -qsF -- "$1" "$unit" || continue
    name=${unit##*/}
    on=off
    [ ! -L "/etc/systemd/system/multi-user.target.wants/$name" ] || on=enabled
    where=$(sed -n 's/^Where=//p' "$unit")
    printf 'unit %s %s %s %s\n' "$name" "$(sha256sum <"$unit" | cut -c1-64)" "$where" "$on"
done
shift
while [ $# -gt 1 ]; do
    source=missing shows=nothing
    [ ! -d "$1" ] || source=there
    options=$(awk -v place="$2" '$5 == place { found = $6 } END { print found }' /proc/self/mountinfo)
    if [ -n "$options" ]; then
        shows=other
        [ ! "$1" -ef "$2" ] || shows=it
    elif [ -n "$(ls -A "$2" 2>/dev/null)" ]; then
        shows=files
    fi
    printf 'place %s %s %s %s\n' "$2" "$source" "$shows" "${options:--}"
    shift 2
done
