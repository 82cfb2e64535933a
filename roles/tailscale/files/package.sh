# The package in exactly this version, held. Variables: PACKAGE, VERSION, RECORD (ROLE.packages).
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt() {
    apt-get -q -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o Acquire::Retries=3 "$@"
}
choose="--no-remove --no-install-recommends --allow-downgrades --allow-change-held-packages"
apt update
# What is new comes into the record, what it needs besides too, before it is there: cut off in between, `remove` still
# knows of it. What was there before is not ours.
mkdir -p "$(dirname "$RECORD")"
apt-get -s -q install $choose "$PACKAGE=$VERSION" | awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }' >>"$RECORD"
sort -u -o "$RECORD" "$RECORD"
apt install $choose "$PACKAGE=$VERSION"
apt-mark hold "$PACKAGE"
