# Take packages away, with their settings, and what they made. Fails where apt would take anything else along.
# Variables: HOLD, NAMES (packages), RECORD (file, or empty), KEEP_NEEDED (yes: leave those that others have come to need).
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
mkdir -p "${HOLD%/*}"
exec 9>>"$HOLD"
flock 9
# A deploy that was cut off may have left packages half way.
[ -z "$(ls /var/lib/dpkg/updates 2>/dev/null)" ] || dpkg --configure -a
dpkg --audit | grep -q . && dpkg --configure -a
status() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true; }
ours=$(for p in $NAMES; do case $(status "$p") in not-installed | '') ;; *) echo "$p" ;; esac; done | sort -u)
# What apt would take along that is not ours.
others() {
    apt-get -s -q purge "$@" | awk '$1 == "Purg" || $1 == "Remv" { print $2 }' | sort -u | while read -r p; do
        # shellcheck disable=SC2086 # one line of names
        case " $(echo $ours) " in *" $p "*) ;; *) echo "$p" ;; esac
    done
}
# One question first: asked package by package, apt takes minutes for ffmpeg's hundred and fifty.
# shellcheck disable=SC2086 # one line of names
if [ "$KEEP_NEEDED" = yes ] && [ -n "$ours" ] && [ -n "$(others $ours)" ]; then
    alone=
    for p in $ours; do [ -n "$(others "$p")" ] || alone="$alone $p"; done
    ours=$alone
fi
if [ -n "$ours" ]; then
    # shellcheck disable=SC2086
    more=$(others $ours)
    if [ -n "$more" ]; then
        # shellcheck disable=SC2086
        echo "not removed: other packages need them:" $more >&2
        exit 1
    fi
    # Settings that an owner kept of a package that he had taken away were there before us.
    before=" $(cat "${RECORD%.packages}.configured" 2>/dev/null | tr '\n' ' ') "
    purge='' remove=''
    for p in $ours; do case $before in *" $p "*) remove="$remove $p" ;; *) purge="$purge $p" ;; esac; done
    # shellcheck disable=SC2086
    [ -z "$remove" ] || apt-get -q -y remove $remove 9>&-
    # shellcheck disable=SC2086
    [ -z "$purge" ] || apt-get -q -y purge $purge 9>&-
fi
[ -n "$RECORD" ] || exit 0
# What the packages made and do not take back. Never with what others put into it.
if [ -f "${RECORD%.packages}.brought" ]; then
    sort -r "${RECORD%.packages}.brought" | while read -r kind name; do
        case $kind in
            user) ! getent passwd "$name" >/dev/null || userdel "$name" ;;
            group)
                if [ -n "$(getent group "$name" | cut -d: -f4)" ]; then
                    echo "kept the group $name: it has members" >&2
                elif getent group "$name" >/dev/null; then
                    groupdel "$name"
                fi
                ;;
            path) [ ! -d "$name" ] || rmdir --ignore-fail-on-non-empty -- "$name" ;;
        esac
    done
fi
rm -f "$RECORD" "${RECORD%.packages}.brought" "${RECORD%.packages}.configured"
