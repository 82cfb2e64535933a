# The mounts of camera folders on this machine: lines `unit NAME SHA256 WHERE ENABLED`, `place TARGET SOURCE SHOWS OPTIONS`
# and `theirs NAME FILE`. Reads only. Arguments: the mark of our units, then for each camera its folder, its place and
# the name of its unit.
for unit in /etc/systemd/system/*.mount; do
    grep -qsF -- "$1" "$unit" || continue
    name=${unit##*/}
    on=off
    [ ! -L "/etc/systemd/system/multi-user.target.wants/$name" ] || on=enabled
    where=$(sed -n 's/^Where=//p' "$unit")
    printf 'unit %s %s %s %s\n' "$name" "$(sha256sum <"$unit" | cut -c1-64)" "$where" "$on"
done
mark=$1
shift
while [ $# -gt 2 ]; do
    # Where systemd looks for units, and where it puts those that it makes of /etc/fstab.
    for folder in /etc/systemd/system /run/systemd/system /run/systemd/generator.early /run/systemd/generator \
        /usr/local/lib/systemd/system /usr/lib/systemd/system; do
        unit=$folder/$3
        if { [ -e "$unit" ] || [ -L "$unit" ]; } && ! grep -qsF -- "$mark" "$unit"; then
            printf 'theirs %s %s\n' "$3" "$unit"
            break
        fi
    done
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
    shift 3
done
