# Images that unfinished runs need. A need is a file in $NEEDS: named after the run, its content the image's reference
# by digest, its time when the run was last given to this machine (shoal/run/image_needs.py writes it).
# `needed` prints the references, the latest need first; a need ends with the run's manifest under $RUNS, or $KEEP_DAYS
# days on.
needed() {
    [ -d "$NEEDS" ] || return 0
    find "$NEEDS" -type f -mtime "+$KEEP_DAYS" -delete
    ls -t "$NEEDS" | while read -r run; do
        if [ -n "$RUNS" ] && [ -f "$RUNS/$run/manifest.json" ]; then rm -f "$NEEDS/$run"; else head -n 1 "$NEEDS/$run"; fi
    done | awk '!seen[$0]++'
}
