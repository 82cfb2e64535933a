# Puts a checked rule set into force for a while: $1 seconds, then it takes itself back unless it was confirmed.
set -eu
new=/etc/shoal/firewall.nft.new
run=/run/shoal-firewall
table='inet shoal_firewall'
unit=shoal-firewall-rollback
nft -c -f "$new"
# shellcheck disable=SC2174 # /run is there
mkdir -p -m 0700 "$run"
systemctl stop "$unit.timer" 2>/dev/null || true
systemctl reset-failed "$unit.service" 2>/dev/null || true
# Where an earlier attempt was cut off, what it had saved is the state to go back to.
if [ ! -e "$run/before.nft" ]; then
    nft list table $table >"$run/before.part" 2>/dev/null || : >"$run/before.part"
    mv "$run/before.part" "$run/before.nft"
fi
cat >"$run/rollback" <<'ROLLBACK'
#!/bin/sh
nft delete table inet shoal_firewall 2>/dev/null
[ ! -s /run/shoal-firewall/before.nft ] || nft -f /run/shoal-firewall/before.nft
rm -rf /run/shoal-firewall /etc/shoal/firewall.nft.new
ROLLBACK
chmod 0700 "$run/rollback"
systemd-run --quiet --collect --unit="$unit" --on-active="$1s" --timer-property=AccuracySec=1s "$run/rollback"
nft -f "$new"
