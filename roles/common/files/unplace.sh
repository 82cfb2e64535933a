# Take the files of a role's record away where they still are what we wrote, and put back what was there before.
# Variables: RECORD (file), BEFORE (folder with the copies).
set -eu
tab=$(printf '\t')
while IFS=$tab read -r kind path sum _ before; do
    [ "$kind $(readlink -- "$path")" != "link $sum" ] || rm -f -- "$path"
    [ "$kind" = file ] && [ -f "$path" ] || continue
    [ "$(sha256sum <"$path" | cut -c1-64)" = "$sum" ] || continue
    if [ "$before" = - ]; then rm -f -- "$path"; else mv -f -- "$BEFORE/$before" "$path"; fi
done <"$RECORD"
awk -F '\t' '$1 == "tree" { print $2 }' "$RECORD" | while read -r folder; do
    rm -rf --one-file-system -- "$folder"
done
awk -F '\t' '$1 == "folder" { print $2 }' "$RECORD" | sort -r | while read -r folder; do
    [ ! -d "$folder" ] || rmdir --ignore-fail-on-non-empty -- "$folder"
done
rm -rf -- "$RECORD" "$BEFORE"
