# Who listens where, and which processes are the site's registry. Reads only. Variables: UNITS (ours), DROP_IN (by which
# an earlier version had the distribution's own service run with our configuration).
for unit in $UNITS; do echo "ours $(systemctl show "$unit" -p MainPID --value 2>/dev/null)"; done
[ ! -e "$DROP_IN" ] || echo "ours $(systemctl show docker-registry.service -p MainPID --value 2>/dev/null)"
ss -Hltnp 2>/dev/null || true
