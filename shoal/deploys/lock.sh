# The deploy lock of one machine: a folder that is made whole and then renamed into its place, which only one can do.
# Arguments: take|release|break, the lock's folder, a token; with `take` also the holder's description.
# Prints `held` and what is known of another's lock, else `taken`, `released`, `broken` or `gone`.
set -u
act=$1 lock=$2 token=$3

# A file's only line, in `line`; nothing where there is none. No program is started for it.
first_line() {
    line=
    [ ! -r "$1" ] || IFS= read -r line <"$1" || :
}

# Counted by the machine's uptime: its clock may be set while a deploy runs.
uptime_s() {
    first_line /proc/uptime
    line=${line%%.*}
}

# Takes the folder away if it is the one of that token; one that another has put there meanwhile is put back.
away() {
    first_line "$lock/token"
    [ "$line" = "$token" ] || return 1
    aside=$lock.$token.$$
    mv -T "$lock" "$aside" 2>/dev/null || return 1
    first_line "$aside/token"
    if [ "$line" != "$token" ]; then
        mv -T "$aside" "$lock" 2>/dev/null || :
        return 1
    fi
    rm -rf "$aside"
}

case $act in
release)
    away
    echo released
    exit 0
    ;;
break)
    if away; then echo broken; else echo gone; fi
    exit 0
    ;;
esac

for _ in 1 2 3 4 5; do
    first_line "$lock/token"
    other=$line
    if [ "$other" = "$token" ]; then
        # Ours already: a sign of life.
        uptime_s
        echo "$line" >"$lock/beat.part" && mv -f "$lock/beat.part" "$lock/beat" || exit 1
        echo taken
        exit 0
    fi
    if [ ! -e "$lock" ]; then
        fresh=$lock.$token
        mkdir -m 700 "$fresh" || exit 1
        uptime_s
        if ! { echo "$line" >"$fresh/beat" && printf '%s\n' "$4" >"$fresh/holder" && echo "$token" >"$fresh/token"; }; then
            rm -rf "$fresh"
            exit 1
        fi
        if mv -T "$fresh" "$lock" 2>/dev/null; then
            echo taken
            exit 0
        fi
        rm -rf "$fresh"
    fi
    first_line "$lock/beat"
    beat=$line
    first_line "$lock/holder"
    holder=$line
    uptime_s
    # Given back, or shown alive, while it was read: tried again.
    if [ -n "$other" ] && [ -n "$beat" ]; then
        printf 'held\n%s\n%s\n%s\n' "$other" "$((line - beat))" "$holder"
        exit 0
    fi
done
echo "the lock $lock is neither free nor of a form that is known" >&2
exit 1
