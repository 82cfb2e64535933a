# What of the inference image is on a machine: lines `files yes`, `engine yes` and `images ID...`. Reads only.
# Variables: FILES, REFERENCES (one a line), LABEL.
printf '%s\n' "$FILES" | while read -r path; do
    [ ! -e "$path" ] || echo "files yes"
done
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    echo "engine yes"
    set --
    while read -r reference; do
        set -- "$@" --filter "reference=$reference"
    done <<END
$REFERENCES
END
    # shellcheck disable=SC2046 # ids, on one line
    echo images $(docker images -q --filter "label=$LABEL" "$@" | sort -u)
fi
