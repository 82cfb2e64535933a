# The distribution's own service of the registry: it stays its owner's, or stands still where the package is ours.
# Variables: DROP_IN (by which an earlier version had it run with our configuration), PACKAGES (our record), ACT (no: only
# say what there is to do).
set -eu
unit=docker-registry.service
ours=no
! grep -qxs docker-registry "$PACKAGES" || ours=yes
used=no
case $(systemctl is-enabled "$unit" 2>/dev/null)/$(systemctl is-active "$unit" 2>/dev/null) in enabled/* | */active) used=yes ;; esac
if [ "$ACT" = no ]; then
    if [ -e "$DROP_IN" ]; then echo drop-in; fi
    if [ "$ours" = yes ] && [ "$used" = yes ]; then echo idle; fi
    exit 0
fi
if [ -e "$DROP_IN" ]; then
    rm -f "$DROP_IN"
    rmdir --ignore-fail-on-non-empty "${DROP_IN%/*}"
    systemctl daemon-reload
    # With its owner's settings again.
    if [ "$ours" = no ] && systemctl is-active -q "$unit"; then systemctl restart "$unit"; fi
fi
if [ "$ours" = yes ] && [ "$used" = yes ]; then systemctl disable --quiet --now "$unit"; fi
