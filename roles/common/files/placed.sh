# What became of the files of a role's record: `version N` of the machine's records, where it has any; `recorded`, where
# the role has one; lines `file SHA256-ON-RECORD SHA256-NOW BEFORE PATH`, with `-` for the sum of a file that is gone and
# for BEFORE where nothing was there before.
# Variables: RECORD (file), RECORDS (folder).
[ -d "$RECORDS" ] || exit 0
echo "version $(cat "$RECORDS/version" 2>/dev/null || echo 0)"
[ -f "$RECORD" ] || exit 0
echo recorded
awk -F '\t' '$1 == "file" { print $3, $5, $2 }' "$RECORD" | while read -r sum before path; do
    now=-
    [ ! -f "$path" ] || now=$(sha256sum <"$path" | cut -c1-64)
    echo "file $sum $now $before $path"
done
