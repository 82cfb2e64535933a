# What became of the files of a role's record: lines `SHA256-ON-RECORD SHA256-NOW PATH`; no sum where it is gone.
# Variable: RECORD (file).
[ -f "$RECORD" ] || exit 0
echo recorded
awk -F '\t' '$1 == "file" { print $3, $2 }' "$RECORD" | while read -r sum path; do
    now=-
    [ ! -f "$path" ] || now=$(sha256sum <"$path" | cut -c1-64)
    echo "$sum $now $path"
done
