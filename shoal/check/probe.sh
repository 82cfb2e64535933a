# Runs on a machine: tries a connection to each of the given addresses and ports (pairs), set in front with MARK and LIMIT_S.
# bash opens it; a name is looked up as the system does.
export LC_ALL=C
while [ $# -ge 2 ]; do
    # shellcheck disable=SC2016  # for the inner shell
    words=$(timeout "$LIMIT_S" bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>&1 </dev/null)
    code=$?
    echo "$MARK $2 $code $(echo "$words" | tr '\n' ' ')"
    shift 2
done
