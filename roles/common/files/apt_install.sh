# Install packages; what is not there yet is recorded first, for the role's `remove`.
# Variables: HOLD, WANTED (names), NEW (what of it and of its dependencies is not there, as apt's simulation has it; empty:
# it is asked here), RECORD (file, or empty: keep none), BROUGHT (lines `user X`, `group X`, `path X` that
# the packages are known to make), START_SERVICES (yes or no).
set -eu
umask 022
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
exec 9>>"$HOLD"
flock 9
add() { # file: lines from standard input join it, in one step
    { cat "$1" 2>/dev/null || true; cat; } | sort -u >"$1.part"
    mv -f "$1.part" "$1"
}
if [ -n "$RECORD" ]; then
    mkdir -p "${RECORD%/*}"
    printf '%s\n' "$BROUGHT" | while read -r kind name; do
        case $kind in
            user) getent passwd "$name" >/dev/null || echo "$kind $name" ;;
            group) getent group "$name" >/dev/null || echo "$kind $name" ;;
            path) [ -e "$name" ] || [ -L "$name" ] || echo "$kind $name" ;;
        esac
    done | add "${RECORD%.packages}.brought"
    # Without a version in brackets behind its name: a package that is not there.
    # shellcheck disable=SC2086 # names, one a word
    [ -n "$NEW" ] || NEW=$(apt-get -s -q install --no-install-recommends $WANTED |
        awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }')
    # One of which settings are left is there in part, and they are its owner's. One that has come since apt was asked is
    # not ours: an earlier deploy that brought it has recorded it.
    # shellcheck disable=SC2086
    {
        dpkg-query -W -f '${Package} ${db:Status-Status} ${Architecture}\n' $NEW 2>/dev/null || true
        printf '%s new\n' $NEW
    } | awk -v native="$(dpkg --print-architecture)" '
        $2 != "new" { status[$3 == "" || $3 == "all" || $3 == native ? $1 : $1 ":" $3] = $2; next }
        status[$1] != "installed" { print status[$1] == "config-files" ? "settings" : "nothing", $1 }' >"$RECORD.new"
    if grep -q '^settings ' "$RECORD.new"; then
        sed -n 's/^settings //p' "$RECORD.new" | add "${RECORD%.packages}.configured"
    fi
    sed 's/^[a-z]* //' "$RECORD.new" | add "$RECORD"
    rm -f "$RECORD.new"
fi
if [ "$START_SERVICES" = no ] && [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
fi
# --no-remove: what the simulation showed was looked at before; between then and now others may have changed something.
# shellcheck disable=SC2086
apt-get -q -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o Acquire::Retries=3 \
    install --no-remove --no-install-recommends $WANTED 9>&-
