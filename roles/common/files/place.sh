# Put a small text file of ours in its place, in one step. Behind record.sh, with its variables and these: TARGET, MODE,
# CONTENT (base64).
set -eu
umask 022
target=$TARGET
# An owner's link stays a link.
[ ! -L "$TARGET" ] || target=$(readlink -m -- "$TARGET")
folder=${target%/*}
record_folders "$folder"
mkdir -p "$folder"
part=$folder/.${target##*/}.part
printf %s "$CONTENT" | base64 -d >"$part"
chown root:root "$part"
chmod "$MODE" "$part"
record_file "$target" "$part"
mv -f -- "$part" "$target"
