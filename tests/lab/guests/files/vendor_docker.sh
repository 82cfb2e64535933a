# The vendor's docker-ce: packages with the distribution's files under the vendor's names and conflicts.
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -y -qq install --no-install-recommends docker.io iptables >/dev/null 2>&1
make() {
    name=$1 fields=$2
    shift 2
    mkdir -p "/root/b/$name/DEBIAN"
    for file; do
        mkdir -p "/root/b/$name${file%/*}"
        cp -a "$file" "/root/b/$name$file"
    done
    {
        printf 'Package: %s\nVersion: 5:27.5.1-1\nArchitecture: %s\nMaintainer: t <t@example.org>\n' "$name" "$(dpkg --print-architecture)"
        printf "$fields"
        echo 'Description: stand-in'
    } >"/root/b/$name/DEBIAN/control"
    dpkg-deb -Znone -b "/root/b/$name" "/root/b/$name.deb" >/dev/null
}
units=/usr/lib/systemd/system
[ -e $units/docker.service ] || units=/lib/systemd/system
make containerd.io 'Provides: containerd, runc\nConflicts: containerd, runc\nReplaces: containerd, runc\n' \
    /usr/bin/containerd /usr/bin/containerd-shim* /usr/sbin/runc $units/containerd.service
make docker-ce-cli 'Conflicts: docker-engine, docker.io\n' /usr/bin/docker
make docker-ce 'Depends: containerd.io, docker-ce-cli, iptables\nConflicts: docker-engine, docker.io\n' \
    /usr/sbin/dockerd /usr/sbin/docker-proxy $units/docker.service $units/docker.socket
systemctl stop docker docker.socket containerd
dpkg -P docker.io >/dev/null
dpkg -P --force-depends containerd runc >/dev/null
dpkg -i /root/b/containerd.io.deb /root/b/docker-ce-cli.deb /root/b/docker-ce.deb >/dev/null
getent group docker >/dev/null || groupadd --system docker
systemctl daemon-reload
systemctl unmask docker docker.socket 2>/dev/null || true
systemctl enable -q --now containerd docker.socket docker
