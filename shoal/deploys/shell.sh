# Runs commands that come on standard input, one after the other, until there are no more. Each is announced by a line
# of two words: a mark, and what the command has for standard input: `nothing`, or `rest` for all that follows its
# script (then it is the last one). The script's lines follow, and a line with the mark. After each command, both
# streams get a line break and the mark, standard output also the exit status.
umask 022
# `read` takes one byte at a time: what follows is left to the next reader. No program is started for it.
while IFS=' ' read -r mark input; do
    script=
    while IFS= read -r line && [ "$line" != "$mark" ]; do
        script=$script$line'
'
    done
    # What a command leaves unread must not be taken for the next one's announcement.
    if [ "$input" = rest ]; then (eval "$script"); else (eval "$script") </dev/null; fi
    code=$?
    printf '\n%s %s\n' "$mark" "$code"
    printf '\n%s\n' "$mark" >&2
    if [ "$input" = rest ]; then exit 0; fi
done
