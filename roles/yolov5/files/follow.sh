# Says what a long script is at, from the logs that it writes, as lines `progress: ...`. Set in front: FOLDER.
mkdir -p "$FOLDER"
tail -q -n 0 -F --pid=$$ "$FOLDER/debootstrap.log" "$FOLDER/build.log" 2>/dev/null </dev/null | {
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
follower=$!
