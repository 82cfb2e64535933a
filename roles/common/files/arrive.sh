# Give an uploaded file its place, once its hash is right. Behind record.sh or stand-ins for its functions, and behind
# `proved`, a function that fails where the file that arrived is not to be used. Variables: LANDED (where it was
# uploaded), PART (in the folder of its place), FINAL, SHA256, OWNER, MODE, PROOF (yes: it is to be proved), REPLACES (the
# SHA-256 of the file that lies there now; `nothing` where none does; `anything` where it does not matter).
set -e
trap 'rm -f "$LANDED" "$PART"' EXIT
found=$(sha256sum <"$LANDED" | cut -d' ' -f1)
if [ "$found" != "$SHA256" ]; then
    echo "wrong hash after the upload of ${FINAL##*/}: wanted $SHA256, found $found" >&2
    exit 1
fi
record_folders "${FINAL%/*}"
umask 022
mkdir -p "${FINAL%/*}"
# Closed before it leaves its private folder: it may be a secret, and arrives as its user's umask makes it.
chmod go= "$LANDED"
mv -f "$LANDED" "$PART"
chown "$OWNER" "$PART"
chmod "$MODE" "$PART"
if [ "$PROOF" = yes ]; then
    proved
    # The proof may have taken a while: a service that was started meanwhile has read the old file.
    touch "$PART"
fi
record_file "$FINAL" "$PART"
case $REPLACES in
    anything) ;;
    nothing)
        mv -n "$PART" "$FINAL"
        [ -e "$PART" ] || exit 0
        echo "another file has come to lie there meanwhile: $FINAL" >&2
        exit 1
        ;;
    *)
        if [ "$(sha256sum <"$FINAL" | cut -c1-64)" != "$REPLACES" ]; then
            echo "another file lies there now than the one that was to be replaced: $FINAL" >&2
            exit 1
        fi
        ;;
esac
mv -f "$PART" "$FINAL"
