# Start a compute service again that waits to ask for its orchestrator, unless a job runs there.
# Variables: PORT (the orchestrator's), UNIT, LABEL (of the engine's containers), WITHIN_S (what it gets beforehand).
hears() { ss -Htn state established "( dport = :$PORT )" 2>/dev/null | grep -q .; }
for _ in $(seq "$WITHIN_S"); do
    if hears; then exit 0; fi
    sleep 1
done
if [ -n "$(docker ps --quiet --filter "label=$LABEL" 2>/dev/null)" ]; then
    echo 'left alone: a job runs'
else
    systemctl restart "$UNIT"
fi
