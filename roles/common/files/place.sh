# Put a small text file of ours in its place, in one step; what was there and what is new goes on record first.
# Variables: TARGET, MODE, CONTENT (base64), ROLE, RECORDS (folder).
# The record's lines are `file PATH SHA256 INODE BEFORE` and `folder PATH`, with tabs between; BEFORE names the copy of
# what was there before the first deploy, `-` where there was nothing.
set -eu
umask 022
record=$RECORDS/$ROLE.files
if [ ! -d "$RECORDS" ]; then
    mkdir -p "$RECORDS"
    echo 2 >"$RECORDS/version"
fi
target=$TARGET
# An owner's link stays a link.
[ ! -L "$TARGET" ] || target=$(readlink -m -- "$TARGET")
folder=${target%/*}
missing=$folder
while [ -n "$missing" ] && [ ! -d "$missing" ]; do
    printf 'folder\t%s\n' "$missing" >>"$record"
    missing=${missing%/*}
done
mkdir -p "$folder"
part=$folder/.${target##*/}.part
printf %s "$CONTENT" | base64 -d >"$part"
chown root:root "$part"
chmod "$MODE" "$part"
sum=$(sha256sum <"$part" | cut -c1-64)
inode=$(stat -c %i "$part")
line=$(awk -F '\t' -v path="$target" '$1 == "file" && $2 == path' "$record" 2>/dev/null || true)
if [ -n "$line" ]; then
    before=$(printf '%s\n' "$line" | cut -f 5)
elif [ -e "$target" ] && [ -e "$RECORDS/version" ]; then
    before=$(printf %s "$target" | sha256sum | cut -c1-16)
    mkdir -p "$RECORDS/$ROLE.before"
    chmod 700 "$RECORDS/$ROLE.before"
    cp -a -- "$target" "$RECORDS/$ROLE.before/.part"
    mv -f -- "$RECORDS/$ROLE.before/.part" "$RECORDS/$ROLE.before/$before"
else
    # Nothing is there, or the file of a deploy that kept no such records yet.
    before=-
fi
{
    awk -F '\t' -v path="$target" '!($1 == "file" && $2 == path)' "$record" 2>/dev/null || true
    printf 'file\t%s\t%s\t%s\t%s\n' "$target" "$sum" "$inode" "$before"
} >"$record.part"
mv -f "$record.part" "$record"
mv -f -- "$part" "$target"
