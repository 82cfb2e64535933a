# Makes the rule set in force the one of every boot, and ends the clock that would take it back.
set -eu
[ -e /run/shoal-firewall/rollback ] || { echo "the rules have taken themselves back already" >&2; exit 1; }
systemctl stop shoal-firewall-rollback.timer
mv /etc/shoal/firewall.nft.new /etc/shoal/firewall.nft
rm -rf /run/shoal-firewall
systemctl daemon-reload
systemctl enable --quiet shoal-firewall.service
