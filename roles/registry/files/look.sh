# Who listens where, and which processes are the site's registry. Reads only. Variables: UNITS (ours), DROP_IN (by which
# an earlier version had the distribution's own service run with our configuration), PACKAGES (our record).
for unit in $UNITS; do echo "ours $(systemctl show "$unit" -p MainPID --value 2>/dev/null)"; done
if [ -e "$DROP_IN" ] || grep -qxs docker-registry "$PACKAGES"; then
    echo "ours $(systemctl show docker-registry.service -p MainPID --value 2>/dev/null)"
fi
ss -Hltnp 2>/dev/null || true
