# Replace the engine's settings in one step, with the mode and owner that the file has. Variables: TARGET, CONTENT.
set -eu
umask 022
target=$TARGET
# An owner's link stays a link.
[ ! -L "$TARGET" ] || target=$(readlink -m -- "$TARGET")
mkdir -p "${target%/*}"
part=${target%/*}/.${target##*/}.part
printf %s "$CONTENT" | base64 -d >"$part"
if [ -e "$target" ]; then
    chmod --reference="$target" "$part"
    chown --reference="$target" "$part"
fi
mv -f -- "$part" "$target"
