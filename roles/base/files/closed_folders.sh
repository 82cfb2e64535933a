# Root's folders that not everybody can pass, one path a line. Reads only.
# Variables: KNOWN (paths, one a line), RECORDS (the folder of the roles' records, whose folders count as well).
{
    printf '%s\n' "$KNOWN"
    cat "$RECORDS"/*.files 2>/dev/null | awk -F '\t' '$1 == "folder" { print $2 }'
} | sort -u | while IFS= read -r path; do
    [ -d "$path" ] && [ ! -L "$path" ] || continue
    case $(stat -c "%u %a" -- "$path") in
        "0 "*[57][57]) ;;
        "0 "*) printf '%s\n' "$path" ;;
    esac
done
