# What a role is about to put on the machine goes on its record first; sourced in front of the program that puts it there.
# Variables: ROLE, RECORDS (folder), SINCE (the version of the records from which on this role keeps one).
# The record's lines, with tabs between: `file PATH SHA256 INODE BEFORE`, where BEFORE names the copy of what was there
# before the first deploy, `-` where there was nothing; `link PATH TARGET`; `folder PATH`, which goes where it is empty;
# `tree PATH`, which goes with all that our services put into it.
record=$RECORDS/$ROLE.files
record_begun() {
    [ ! -d "$RECORDS" ] || return 0
    (umask 022 && mkdir -p "$RECORDS")
    echo 3 >"$RECORDS/version"
}
record_folders() { # folder: those of it and of its parents that are not there
    record_begun
    missing=$1
    while [ -n "$missing" ] && [ ! -d "$missing" ]; do
        printf 'folder\t%s\n' "$missing" >>"$record"
        missing=${missing%/*}
    done
}
record_tree() { # folder that is not there
    record_folders "${1%/*}"
    printf 'tree\t%s\n' "$1" >>"$record"
}
record_link() { # place where nothing is, what it points to
    record_folders "${1%/*}"
    printf 'link\t%s\t%s\n' "$1" "$2" >>"$record"
}
record_file() { # place, file that goes there
    record_folders "${1%/*}"
    line=$(awk -F '\t' -v path="$1" '$1 == "file" && $2 == path' "$record" 2>/dev/null || true)
    since=$(cat "$RECORDS/version" 2>/dev/null || echo 0)
    if [ -n "$line" ]; then
        before=$(printf '%s\n' "$line" | cut -f 5)
    elif [ -e "$1" ] && [ "$since" -ge "$SINCE" ]; then
        before=$(printf %s "$1" | sha256sum | cut -c1-16)
        mkdir -p "$RECORDS/$ROLE.before"
        chmod 700 "$RECORDS/$ROLE.before"
        cp -a -- "$1" "$RECORDS/$ROLE.before/.part"
        mv -f -- "$RECORDS/$ROLE.before/.part" "$RECORDS/$ROLE.before/$before"
    else
        # Nothing is there, or the file of a deploy that kept no such records yet.
        before=-
    fi
    {
        awk -F '\t' -v path="$1" '!($1 == "file" && $2 == path)' "$record" 2>/dev/null || true
        printf 'file\t%s\t%s\t%s\t%s\n' "$1" "$(sha256sum <"$2" | cut -c1-64)" "$(stat -c %i "$2")" "$before"
    } >"$record.part"
    mv -f "$record.part" "$record"
}
