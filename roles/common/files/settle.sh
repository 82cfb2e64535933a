# End or wait for what an earlier deploy left running on this machine. Variables: HOLD and FOLDER/lock (files that such
# programs hold open), WAIT_S, ACT (no: only say what is there).
set -eu
holders() { # file: ids of the processes that have it open
    for fd in /proc/[0-9]*/fd/*; do
        [ "$(readlink "$fd" 2>/dev/null)" != "$1" ] || echo "$fd" | cut -d/ -f3
    done | sort -u
}
held() { [ -e "$1" ] && ! flock -n "$1" true; }
if [ "$ACT" = no ]; then
    if held "$HOLD"; then echo hold; fi
    if held "$FOLDER/lock"; then echo build; fi
    exit 0
fi
if held "$FOLDER/lock"; then
    for signal in TERM KILL; do
        for pid in $(holders "$FOLDER/lock"); do kill -s "$signal" "$pid" 2>/dev/null || true; done
        # Ended when nobody holds the lock: waited for, not slept for.
        if flock -w 10 "$FOLDER/lock" true; then break; fi
    done
    flock -n "$FOLDER/lock" true || { echo "a build of the image does not end" >&2; exit 1; }
    # debootstrap mounts these, and a process that is killed leaves them.
    awk -v folder="$FOLDER/" 'index($5, folder) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r place; do
        umount "$place"
    done
fi
if held "$HOLD"; then
    flock -w "$WAIT_S" "$HOLD" true || {
        echo "an earlier deploy is still installing packages (processes $(holders "$HOLD" | tr '\n' ' ')); wait for its end" >&2
        exit 1
    }
fi
