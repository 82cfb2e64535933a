# Make dpkg whole and apt's lists fresh; nothing is installed. Variables: HOLD, STAMP, FRESH_MINUTES, MEND_S.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
mkdir -p "${HOLD%/*}"
# A deploy that was cut off may still be at work on this machine: one after the other.
exec 9>>"$HOLD"
flock 9
# An apt that was cut off leaves a journal, which dpkg has to work through first; another may be at work on it.
end=$(($(date +%s) + MEND_S))
until [ -z "$(ls /var/lib/dpkg/updates 2>/dev/null)" ] || dpkg --configure -a; do
    [ "$(date +%s)" -lt "$end" ] || exit 1
    sleep 2
done
[ -n "$(find "$STAMP" -mmin "-$FRESH_MINUTES" 2>/dev/null)" ] || {
    apt-get -q -o Acquire::Retries=3 update
    mkdir -p "${STAMP%/*}"
    touch "$STAMP"
}
