# Which of the folders are neither there nor on the role's record as trees of ours: one path a line. Reads only.
# Variables: RECORD (ROLE.files), PATHS (one a line).
printf '%s\n' "$PATHS" | while read -r path; do
    [ ! -e "$path" ] || continue
    awk -F '\t' -v path="$path" '$1 == "tree" && $2 == path { found = 1 } END { exit !found }' "$RECORD" 2>/dev/null ||
        echo "$path"
done
