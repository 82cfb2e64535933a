# Says what a long script is at, from the logs that it writes, as lines `progress: ...`. Set in front: FOLDER.
mkdir -p "$FOLDER"
# Laid aside, so that a new log is read from its first line however late tail comes to it.
for log in debootstrap build; do
    [ ! -e "$FOLDER/$log.log" ] || mv -f "$FOLDER/$log.log" "$FOLDER/$log.log.before"
done
tail -q -n +1 -F --pid=$$ "$FOLDER/debootstrap.log" "$FOLDER/build.log" 2>/dev/null </dev/null | {
    last=
    count=0
    while IFS= read -r line; do
        case $line in
            'I: Retrieving '* | 'I: Extracting '* | 'I: Unpacking '* | 'I: Configuring '*)
                word=${line#I: }
                word=${word%% *}
                [ "$word" = "$last" ] || count=0
                last=$word
                [ $((count % 25)) != 0 ] || echo "progress: base: $word packages ($count so far)"
                count=$((count + 1))
                ;;
            'Step '* | 'Collecting '* | 'Installing collected packages'*)
                echo "progress: image: $line" | cut -c1-120
                ;;
        esac
    done
} &
# shellcheck disable=SC2034  # ended by what comes after this text
follower=$!
