# Runs commands that come on standard input, one after the other, until there are no more. Each is announced by a line
# of three words: a mark, the length of its script in bytes, and how many bytes after that are its standard input
# (-1 for none). After each, both streams get a line break and the mark, standard output also the exit status.
umask 022
# `read` takes one byte at a time and `head` no more than it is asked for: what follows is left to the next of them.
while IFS=' ' read -r mark length input; do
    script=$(head -c "$length" && echo .)
    script=${script%.}
    if [ "$input" -ge 0 ]; then
        # What a command leaves unread must not be taken for the next one's announcement.
        head -c "$input" | (
            (eval "$script")
            code=$?
            cat >/dev/null
            exit "$code"
        )
    else
        (eval "$script") </dev/null
    fi
    code=$?
    printf '\n%s %s\n' "$mark" "$code"
    printf '\n%s\n' "$mark" >&2
done
