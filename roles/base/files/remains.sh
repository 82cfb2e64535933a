# What a teardown finds in our folders: lines `gone PATH` (ours, to go with all it holds), `in PATH` (files and empty
# folders) and `folder PATH`. Reads only. Variables: LEFTOVERS, FOLDERS (one a line).
printf '%s\n' "$LEFTOVERS" | while read -r path; do
    [ ! -e "$path" ] || echo "gone $path"
done
printf '%s\n' "$FOLDERS" | while read -r path; do
    [ -d "$path" ] || continue
    find "$path" -mindepth 1 \( -type d -empty -o ! -type d \) -printf 'in %p\n'
    echo "folder $path"
done
