"""The look at machines that have an owner: conditions of real sites, made on lab nodes, and what is said of them.

What the lab's kernel cannot do (exFAT, NFS, another clock, no memory control) is made with a stand-in for the program
or file that the machine would tell it by; each such case says so.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_under_test import Lab
from lived_in import Gateways, in_the_way, told

from shoal.check.finding import Level
from shoal.cluster import onprem
from shoal.errors import UsageError
from shoal.ssh import client as ssh

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

APT = "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; apt-get -y -qq install --no-install-recommends"
QUIET_APT = f"exec 3>&2 >/run/apt.log 2>&1; {APT}"
OR_SAY = "code=$?; [ $code = 0 ] || { tail -n 5 /run/apt.log >&3; exit $code; }"


@pytest.fixture(scope="module")
def gateways(lab: Lab) -> Iterator[Gateways]:
    made = Gateways.of(lab)
    yield made
    ssh.close(made.cluster)
    for node in made.cluster.nodes:
        made.on(node.name, "userdel -rf ops; rm -f /etc/sudoers.d/ops")


def only(lines: list[str], *words: str) -> str:
    """The one line, which has all the words."""
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0], (word, lines)
    return lines[0]


def test_good_machines_are_looked_at_and_nothing_is_changed(gateways: Gateways) -> None:
    where = "/etc /usr /var /root /home /videos /srv /opt /boot"
    gateways.on("compute-1", "touch /run/stamp; sleep 1.1")
    begun = time.monotonic()
    report = gateways.look(clips=2, bacalhau=True)
    assert time.monotonic() - begun < 90
    assert in_the_way(report) == []
    assert set(report.facts) == set(report.nodes)
    changed = gateways.on("compute-1", f"find {where} -xdev -newer /run/stamp ! -type d 2>/dev/null || true")
    logs = ("/var/log/", "/var/lib/sudo/", "/var/lib/systemd/")
    assert [path for path in changed.splitlines() if not path.startswith(logs)] == []
    assert gateways.on("requester", "ss -Hltn sport = :5000 or sport = :4222") == "", "the listeners are gone"


LOGINS = {
    "tcsh": ("usermod -s /bin/tcsh ops", "", Level.NOTE, "/bin/tcsh"),
    "fish": ("usermod -s /usr/bin/fish ops", "", Level.NOTE, "/usr/bin/fish"),
    "a greeting": (
        "sed -i '1i echo Welcome; printf \"\\\\033[2Jload 0.1\\\\n\"' /home/ops/.bashrc",
        "cp /etc/skel/.bashrc /home/ops/.bashrc",
        Level.WARNING,
        "prints before a command runs: Welcome [2Jload 0.1",
    ),
    "nologin": ("usermod -s /usr/sbin/nologin ops", "", Level.REFUSAL, "This account is currently not available"),
    "a flood": (
        "printf '#!/bin/sh\\nexec yes\\n' >/usr/local/bin/flood; chmod 755 /usr/local/bin/flood; "
        "usermod -s /usr/local/bin/flood ops",
        "rm -f /usr/local/bin/flood",
        Level.REFUSAL,
        "more than 2 MiB",
    ),
    "sudo by password": (
        "echo 'ops ALL=(ALL) ALL' >/etc/sudoers.d/ops",
        "",
        Level.REFUSAL,
        "asks ops for a password",
    ),
    "sudo for some": (
        "echo 'ops ALL=(ALL) NOPASSWD: /usr/bin/apt-get' >/etc/sudoers.d/ops",
        "",
        Level.REFUSAL,
        "some commands only",
    ),
    "no sudo": ("rm /etc/sudoers.d/ops", "", Level.REFUSAL, "sudo"),
    "umask": (
        "echo 'umask 077' >>/home/ops/.bashrc; sed -i 's/^case/umask 077\\ncase/' /home/ops/.bashrc",
        "cp /etc/skel/.bashrc /home/ops/.bashrc",
        Level.NOTE,
        "umask 0077 (login)",
    ),
}


@pytest.mark.parametrize("case", LOGINS)
def test_logins(gateways: Gateways, case: str) -> None:
    make, undo, level, words = LOGINS[case]
    if case in {"tcsh", "fish"}:
        gateways.on("compute-1", f"command -v {case} >/dev/null || {{ {APT} {case}; }} >/dev/null 2>&1")
    again = "usermod -s /bin/bash ops; echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops"
    with gateways.made("compute-1", make, f"{again}; {undo or ':'}"):
        report = gateways.look("compute-1")
    assert any(words in line for line in told(report, level)), report.findings
    if level is Level.REFUSAL:
        assert len(in_the_way(report)) == 1
        assert report.findings[0].todo
    else:
        assert in_the_way(report) == []
        assert report.facts["compute-1"].login.is_root


def test_a_sudo_that_wants_a_terminal_gets_one(gateways: Gateways) -> None:
    make = "printf 'Defaults requiretty\\nops ALL=(ALL) NOPASSWD: ALL\\n' >/etc/sudoers.d/ops"
    with gateways.made("compute-1", make, "echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops"):
        report = gateways.look("compute-1")
    assert in_the_way(report) == []
    assert report.facts["compute-1"].login.is_root


AS = r"""mkdir -p /videos; mount -t tmpfs none /videos; touch /videos/own.mp4
cat >/usr/local/bin/awk <<'END'
#!/bin/sh
for last; do :; done
[ "$last" = /proc/self/mountinfo ] || exec /usr/bin/awk "$@"
n=$#
while [ "$n" -gt 1 ]; do set -- "$@" "$1"; shift; n=$((n - 1)); done
shift
sed '/ \/videos /s/ - tmpfs none / - @TYPE@ @SOURCE@ /' /proc/self/mountinfo | exec /usr/bin/awk "$@"
END
chmod 755 /usr/local/bin/awk"""
"""A file system at /videos, and an awk that shows it as one that this kernel does not have."""
AS_NO_MORE = "rm -f /usr/local/bin/awk; umount /videos; rmdir /videos"
EXFAT = AS.replace("@TYPE@", "exfat").replace("@SOURCE@", r"\/dev\/sdb1")
NFS = AS.replace("@TYPE@", "nfs4").replace("@SOURCE@", r"nas:\/footage")
SOCKET = "import socket; s = socket.socket(socket.AF_UNIX); s.bind('/run/user/1001/docker.sock')"
CONDITIONS = {
    "exFAT under videos (stand-in: awk)": (
        EXFAT,
        AS_NO_MORE,
        ["/videos is on exfat (mounted at /videos), which keeps no owners and modes", "--no-videos"],
    ),
    "a rootless engine alone (stand-in: its socket)": (
        f'mkdir -p /run/user/1001; python3 -c "{SOCKET}"',
        "rm -r /run/user/1001",
        ["rootless", "apt-get install docker.io"],
    ),
    "end of life (stand-in: os-release)": (
        "rm /etc/os-release; printf 'ID=debian\\nVERSION_ID=11\\nPRETTY_NAME=\"Debian 11\"\\n' >/etc/os-release",
        "rm -f /etc/os-release; ln -s ../usr/lib/os-release /etc/os-release",
        ["no security updates since 2026-08-31"],
    ),
    "another system (stand-in: os-release)": (
        "rm /etc/os-release; printf 'ID=alpine\\nPRETTY_NAME=\"Alpine 3.20\"\\n' >/etc/os-release",
        "rm -f /etc/os-release; ln -s ../usr/lib/os-release /etc/os-release",
        ["runs Alpine 3.20", "Debian 11 or newer"],
    ),
    "a wrong clock (stand-in: date)": (
        'printf \'#!/bin/sh\\n/bin/date -d "-3 hours" "$@"\\n\' >/usr/local/bin/date; chmod 755 /usr/local/bin/date',
        "rm -f /usr/local/bin/date",
        ["3 hours behind this machine's"],
    ),
    "no memory control (stand-in: /proc/cgroups)": (
        "sed 's/^\\(memory.*\\)1$/\\10/' /proc/cgroups >/run/cgroups; mount --bind /run/cgroups /proc/cgroups",
        "umount /proc/cgroups",
        ["cgroup memory is off", "cgroup_enable=memory"],
    ),
    "150 MB on /var/lib/docker": (
        "mount -t tmpfs -o size=150m none /var/lib/docker",
        "umount /var/lib/docker",
        ["157 MB are free for /var/lib/docker", "mount a larger disk"],
    ),
    "videos read-only": (
        "mkdir -p /videos; mount -t tmpfs none /videos; mount -o remount,ro /videos",
        "umount /videos; rmdir /videos",
        ["/videos is mounted read-only (tmpfs at /videos)", "--no-videos"],
    ),
    "footage under the name of a clip": (
        "mkdir -p /videos; echo footage >/videos/clip-0.mp4",
        "rm -r /videos",
        ["other files under the names of clips that are to be placed: clip-0.mp4"],
    ),
    "a file at /videos": ("touch /videos", "rm -f /videos", ["is no folder"]),
    "half installed packages": (
        "cp /var/lib/dpkg/status /root/status; "
        "sed -i '/^Package: curl$/,/^$/s/^Status: .*/Status: install ok half-configured/' /var/lib/dpkg/status",
        "cp /root/status /var/lib/dpkg/status",
        ["not wholly installed", "dpkg --configure -a"],
    ),
    "a package that apt would remove": (
        "apt-get -qq update; mkdir -p /run/nvr/DEBIAN; printf '%s\\n' 'Package: nvr-suite' 'Version: 1' "
        "'Architecture: all' 'Maintainer: o <o@example.org>' 'Conflicts: iptables' 'Description: a recorder' "
        ">/run/nvr/DEBIAN/control; dpkg-deb -b /run/nvr /run/nvr.deb >/dev/null; dpkg -i /run/nvr.deb >/dev/null",
        "dpkg -P nvr-suite >/dev/null; rm -r /run/nvr /run/nvr.deb",
        ["apt would remove nvr-suite for what is installed", "apt-get -s install"],
    ),
    "podman's shim": (
        f"{{ {APT} podman-docker; }} >/dev/null 2>&1",
        "{ DEBIAN_FRONTEND=noninteractive apt-get -y -qq purge podman-docker podman; "
        "apt-get -y -qq autoremove --purge; } >/dev/null 2>&1",
        ["is podman's (package podman-docker)"],
    ),
    "snap's Docker (stand-in: its program)": (
        "mkdir -p /snap/bin; printf '#!/bin/sh\\nexit 1\\n' >/snap/bin/docker; chmod 755 /snap/bin/docker",
        "rm -r /snap",
        ["its Docker is snap's", "snap remove docker"],
    ),
    "data of a former engine": (
        "mkdir -p /var/lib/docker/volumes/old/_data",
        "rm -rf /var/lib/docker/volumes",
        ["a former engine left data in /var/lib/docker, 1 volumes among it"],
    ),
    "a bridge of the machine's own": (
        "ip link add br0 type bridge; ip link add v0 type veth peer name v1; ip link set v0 master br0",
        "ip link del br0; ip link del v0",
        ["bridges br0 (v0)"],
    ),
    "a proxy for all services": (
        "systemctl set-environment http_proxy=http://user:geheim@proxy.plant:3128 no_proxy=localhost",
        "systemctl unset-environment http_proxy no_proxy",
        ["goes through the proxy http://proxy.plant:3128", "is not among the exceptions (localhost)"],
    ),
}


@pytest.mark.parametrize("case", CONDITIONS)
def test_conditions(gateways: Gateways, case: str) -> None:
    make, undo, words = CONDITIONS[case]
    with gateways.made("compute-1", make, undo):
        report = gateways.look("compute-1", clips=2)
    line = only(in_the_way(report), *words)
    assert "geheim" not in line
    assert report.in_the_way[0].todo


def test_footage_on_a_network_file_system_is_read_and_said(gateways: Gateways) -> None:
    with gateways.made("compute-1", NFS, AS_NO_MORE):
        report = gateways.look("compute-1")
    assert in_the_way(report) == []
    assert any("is on a network file system (nfs4, mounted at /videos)" in line for line in told(report, Level.WARNING))


FIREWALLS = {
    "drops": (
        "iptables -I INPUT -p tcp --dport 5000 -j DROP",
        "iptables -D INPUT -p tcp --dport 5000 -j DROP",
        "iptables",
    ),
    "rejects": (
        "iptables -I INPUT -p tcp --dport 5000 -j REJECT",
        "iptables -D INPUT -p tcp --dport 5000 -j REJECT",
        "iptables",
    ),
    "rejects as if nobody listened": (
        "iptables -I INPUT -p tcp --dport 5000 -j REJECT --reject-with tcp-reset",
        "iptables -D INPUT -p tcp --dport 5000 -j REJECT --reject-with tcp-reset",
        "iptables",
    ),
    "nftables": (
        "nft add table inet plant; "
        "nft add chain inet plant input '{ type filter hook input priority 0; policy drop; }'; "
        "nft add rule inet plant input ct state established,related accept; "
        "nft add rule inet plant input iif lo accept; nft add rule inet plant input tcp dport 22 accept",
        "nft delete table inet plant",
        "nftables",
    ),
    "firewalld": (
        "systemctl unmask -q firewalld; systemctl start firewalld; "
        "timeout 120 sh -c 'until firewall-cmd --state >/dev/null 2>&1; do sleep 0.2; done'",
        "systemctl stop firewalld; DEBIAN_FRONTEND=noninteractive apt-get -y -qq purge firewalld >/dev/null 2>&1",
        "firewalld",
    ),
    "ufw": (
        "ufw allow 22/tcp >/dev/null; ufw --force enable >/dev/null",
        "ufw --force reset >/dev/null; ufw disable",
        "ufw",
    ),
}


@pytest.mark.parametrize("case", FIREWALLS)
def test_a_firewall_that_keeps_machines_from_the_registry(gateways: Gateways, case: str) -> None:
    """As ufw, firewalld or a hand-written ruleset do it; nothing listens at the port yet."""
    make, undo, name = FIREWALLS[case]
    package = {"nftables": "nftables", "ufw": "ufw", "firewalld": "firewalld"}.get(name, "iptables")
    gateways.on("requester", f"dpkg -s {package} >/dev/null 2>&1 || {{ {QUIET_APT} {package}; {OR_SAY}; }}")
    with gateways.made("requester", make, undo):
        report = gateways.look()
        alone = gateways.look("compute-1")
    lines = in_the_way(report)
    assert len(lines) == 2, lines
    assert {line.partition(":")[0] for line in lines} == {"compute-1", "compute-2"}
    for line in lines:
        assert f"port 5000 on requester ({gateways.cluster.requester.address})" in line
        assert f"{name} is active on requester" in line
    if case == "drops":
        only(in_the_way(alone), "port 5000 on requester", "gets no answer")


def test_a_firewall_that_lets_the_machines_in_is_no_matter(gateways: Gateways) -> None:
    subnet = gateways.lab.facts.subnet
    gateways.on("requester", f"dpkg -s ufw >/dev/null 2>&1 || {{ {QUIET_APT} ufw; {OR_SAY}; }}")
    opened = f"ufw allow from {subnet} to any port 5000 proto tcp"
    make = f"ufw allow 22/tcp >/dev/null; {opened} >/dev/null; ufw --force enable"
    with gateways.made("requester", make, "ufw --force reset >/dev/null; ufw disable"):
        report = gateways.look()
    assert in_the_way(report) == []
    assert any("ufw is active, and lets compute-1, compute-2 in at 5000" in line for line in told(report, Level.NOTE))


def test_the_owners_registry_on_the_port(gateways: Gateways) -> None:
    make = "systemd-run --quiet --unit nvr python3 -m http.server 5000"
    with gateways.made(
        "requester", f"{make}; until ss -Hltn sport = :5000 | grep -q .; do sleep 0.1; done", "systemctl stop nvr"
    ):
        report = gateways.look("requester")
        moved = gateways.look("requester", knobs={"registry_port": 5005})
    only(in_the_way(report), "port 5000, which the site's registry takes, is python3's on every address, nvr.service")
    assert in_the_way(moved) == []


def test_an_owners_engine_with_a_container_behind_a_proxy(gateways: Gateways) -> None:
    """A real engine: used as it is, its container and volume listed, and refused for its proxy alone."""
    peer = gateways.cluster.requester.address
    make = f"""
        {APT} docker.io iptables busybox-static >/dev/null 2>&1
        mkdir -p /etc/systemd/system/docker.service.d /tmp/r/bin
        printf '[Service]\\nEnvironment=HTTP_PROXY=http://proxy.plant:3128 NO_PROXY=localhost\\n' \
            >/etc/systemd/system/docker.service.d/proxy.conf
        systemctl daemon-reload; systemctl restart docker
        cp /bin/busybox /tmp/r/bin/; tar -C /tmp/r -c . | docker import - owner/nvr:1 >/dev/null
        docker volume create footage >/dev/null
        docker run -d --name nvr owner/nvr:1 /bin/busybox sleep 100000 >/dev/null
    """
    undo = """
        docker rm -f nvr >/dev/null; docker volume rm footage >/dev/null; docker rmi owner/nvr:1 >/dev/null
        systemctl stop docker.socket docker containerd; apt-get -y -qq purge docker.io containerd runc >/dev/null 2>&1
        rm -rf /etc/systemd/system/docker.service.d /etc/docker /tmp/r
        find /var/lib/docker /var/lib/containerd -xdev -mindepth 1 -delete 2>/dev/null || true
        systemctl daemon-reload
    """
    mend = """
        sed -i 's/NO_PROXY=/NO_PROXY=10.0.0.0\\/8,172.16.0.0\\/12,192.168.0.0\\/16,/' \\
            /etc/systemd/system/docker.service.d/proxy.conf
        systemctl daemon-reload; systemctl restart docker
    """
    with gateways.made("compute-2", make, undo):
        report = gateways.look("compute-2", clips=1)
        gateways.on("compute-2", mend)
        mended = gateways.look("compute-2", clips=1)
    only(in_the_way(report), "goes through the proxy http://proxy.plant:3128", f"{peer} is not among the exceptions")
    notes = "\n".join(told(report, Level.NOTE))
    assert "docker.io" in notes
    assert "is used as it is (data in /var/lib/docker)" in notes
    assert "1 containers run (nvr), 1 volumes are kept" in notes
    assert any("would end nvr for good" in line for line in told(report, Level.WARNING))
    assert in_the_way(mended) == []


def test_machines_that_are_copies_and_one_that_is_named_twice(gateways: Gateways) -> None:
    theirs = gateways.on("compute-2", "cat /etc/machine-id")
    save = "cp /etc/machine-id /root/machine-id"
    with gateways.made("compute-1", f"{save}; echo {theirs} >/etc/machine-id", "cp /root/machine-id /etc/machine-id"):
        report = gateways.look("compute-1", "compute-2", knobs={"base_hostname": False})
    assert in_the_way(report) == []
    assert any("one was copied from the other" in line for line in told(report, Level.WARNING))
    once, other = gateways.cluster.node("compute-1"), gateways.cluster.node("compute-2")
    twice = other.model_copy(update={"address": once.address, "port": 2222})
    cluster = gateways.cluster.model_copy(update={"nodes": (gateways.cluster.requester, once, twice)})
    key = gateways.on("compute-1", "cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub")
    known = cluster.ssh.known_hosts_file
    assert known is not None
    before = known.read_text()
    with gateways.made(
        "compute-1",
        "printf 'Port 22\\nPort 2222\\n' >/etc/ssh/sshd_config.d/two.conf; systemctl restart ssh",
        "rm /etc/ssh/sshd_config.d/two.conf; systemctl restart ssh",
    ):
        try:
            known.write_text(f"{before}[{once.address}]:2222 {key}\n")
            report = gateways.look("compute-1", "compute-2", cluster=cluster)
        finally:
            known.write_text(before)
    only(in_the_way(report), "is the same machine as compute-1")


def test_a_requester_whose_name_means_itself(gateways: Gateways) -> None:
    """As Debian's installer writes it: the host name on 127.0.1.1."""
    nodes = tuple(
        node.model_copy(update={"cluster_address": "requester"}) if node.has_role("requester") else node
        for node in gateways.cluster.nodes
    )
    named = gateways.cluster.model_copy(update={"nodes": nodes})
    assert in_the_way(gateways.look(cluster=named)) == []
    make = "cp /etc/hosts /root/hosts; printf '127.0.0.1 localhost\\n127.0.1.1 requester\\n' >/etc/hosts"
    with gateways.made("requester", make, "cat /root/hosts >/etc/hosts"):
        report = gateways.look("requester", cluster=named)
    only(in_the_way(report), "requester means 127.0.1.1 there (see its /etc/hosts)")


def test_a_machine_that_is_away_keeps_no_other_from_being_seen(gateways: Gateways) -> None:
    container = f"shoal-{gateways.lab.name}-compute-2"
    ssh.close(gateways.cluster)
    subprocess.run(["docker", "pause", container], check=True, capture_output=True)
    try:
        report = gateways.look()
    finally:
        subprocess.run(["docker", "unpause", container], check=True, capture_output=True)
    only(in_the_way(report), "compute-2", "no answer in time")
    assert report.transient
    assert set(report.facts) == {"requester", "compute-1"}


def test_a_line_with_300_ms(gateways: Gateways, tmp_path: Path) -> None:
    """Each way takes 150 ms more (a ProxyCommand that waits): slow, not silent, and no wrong clock."""
    program = tmp_path / "slow.py"
    program.write_text(SLOW)
    access = gateways.cluster.ssh.model_copy(update={"proxy_command": f"{sys.executable} {program} %h %p"})
    slow = gateways.cluster.model_copy(update={"ssh": access})
    begun = time.monotonic()
    report = gateways.look(cluster=slow)
    assert in_the_way(report) == []
    assert not any("clock" in line for line in told(report, Level.WARNING))
    assert time.monotonic() - begun < 120


SLOW = """
import os, select, socket, sys, threading, time
from collections import deque
link = socket.create_connection((sys.argv[1], int(sys.argv[2])))

def pour(read, write):
    # Pieces wait side by side: it is a long line, not a thin one.
    waiting, done = deque(), threading.Event()
    def deliver():
        while not (done.is_set() and not waiting):
            if not waiting:
                time.sleep(0.005)
                continue
            due, piece = waiting.popleft()
            time.sleep(max(due - time.monotonic(), 0))
            write(piece)
    threading.Thread(target=deliver, daemon=True).start()
    while piece := read():
        waiting.append((time.monotonic() + 0.15, piece))
    done.set()

threading.Thread(target=pour, args=(lambda: os.read(0, 65536), link.sendall), daemon=True).start()
pour(lambda: link.recv(65536), lambda piece: os.write(1, piece))
"""


def test_the_command_lists_everything_and_a_deploy_ends_there(gateways: Gateways, tmp_path: Path) -> None:
    """By the command line: both machines' faults in one list, exit code 2, and nothing was changed."""
    document = tmp_path / "onprem.toml"
    document.write_text(onprem.render(gateways.cluster))
    words = ["--cluster", str(document)]
    subprocess.run([sys.executable, "-m", "shoal", "site", "prepare", "--no-videos", *words], check=True)
    broken = "echo 'ops ALL=(ALL) ALL' >/etc/sudoers.d/ops"
    undo = "echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops"
    with gateways.made("compute-1", broken, undo), gateways.made("compute-2", broken, undo):
        check = shoal("site", "check", *words, "--json")
        deploy = shoal("site", "deploy", *words)
    assert check.returncode == 2, check.stderr
    assert '"may_deploy": false' in check.stdout
    assert deploy.returncode == 2
    assert "2 things are in the way; nothing was changed" in deploy.stderr
    for name in ("compute-1", "compute-2"):
        assert f"- {name}: sudo: sudo asks ops for a password" in deploy.stderr
        gateways.on(name, "test ! -e /var/lib/shoal")
    assert "Traceback" not in deploy.stderr


def test_host_keys_are_fetched_compared_and_recorded(gateways: Gateways, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    access = gateways.cluster.ssh.model_copy(update={"known_hosts_file": known})
    document = tmp_path / "onprem.toml"
    document.write_text(onprem.render(gateways.cluster.model_copy(update={"ssh": access})))
    first = shoal("cluster", "host-keys", str(document))
    assert first.returncode == 3, first.stderr
    assert not known.exists()
    prints = {
        name: gateways.on(name, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
        for name in ("requester", "compute-1", "compute-2")
    }
    for fingerprint in prints.values():
        assert fingerprint in first.stdout
    wrong = f"--fingerprint=compute-1={prints['compute-2']}"
    refused = shoal("cluster", "host-keys", str(document), wrong)
    assert refused.returncode == 2
    assert not known.exists()
    flags = [f"--fingerprint={name}={value}" for name, value in prints.items()]
    done = shoal("cluster", "host-keys", str(document), *flags)
    assert done.returncode == 0, done.stderr
    again = shoal("cluster", "host-keys", str(document))
    assert again.returncode == 0
    assert again.stdout.count("known") == 3
    lines = known.read_text().splitlines()
    known.write_text("\n".join([lines[0], lines[1].replace(lines[1].split()[2], lines[2].split()[2]), lines[2]]) + "\n")
    changed = shoal("cluster", "host-keys", str(document), "--yes")
    assert changed.returncode == 3
    assert "do not go on" in changed.stderr
    assert lines[1] not in known.read_text(), "a changed key is never replaced"


def shoal(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shoal", *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def test_a_cluster_address_that_is_every_machines_own_is_refused(gateways: Gateways) -> None:
    from shoal.cluster.document import parse

    raw = gateways.cluster.model_dump(mode="json", exclude_none=True)
    raw["nodes"][0]["cluster_address"] = "127.0.0.1"
    with pytest.raises(UsageError, match="every machine's own"):
        parse(raw, source="test")
