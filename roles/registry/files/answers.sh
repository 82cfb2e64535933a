# Wait, with a deadline, until a URL gives an answer that is a success. Variables: URL, TIMEOUT_S.
probe() { curl -fsS --noproxy '*' -m 3 -o /dev/null "$URL"; }
end=$(($(date +%s) + TIMEOUT_S))
until probe 2>/dev/null; do
    if [ "$(date +%s)" -ge "$end" ]; then
        echo "no answer within $TIMEOUT_S s:" >&2
        probe
        exit 1
    fi
    sleep 0.2
done
