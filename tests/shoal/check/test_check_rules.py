"""Every rule: silent on a good machine, and what it says of each condition that real sites have."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from datetime import date
from typing import Any

import pytest
from machines import GOOD, listener, login, machine, places, plan

from shoal.check.facts import Container, Docker, Facts, Videos
from shoal.check.finding import CONSENTS, Finding, Level, agreed, ordered
from shoal.check.plan import plans
from shoal.check.rules import docker, network, space, system, videos
from shoal.check.rules import login as logins
from shoal.check.rules.all import of_machine, together
from shoal.check.rules.network import Reach
from shoal.cluster.document import Camera, Cluster, Node, Privacy

TODAY = date(2026, 11, 30)
OFFICE = machine(hostname="office", machine_id="b" * 32, macs=frozenset({"02:00:00:00:00:02"}),
                 addresses=frozenset({"127.0.0.1", "10.0.0.2"}))  # fmt: skip


def found(entries: Iterable[Finding], level: Level | None = None) -> list[str]:
    """The findings as lines, to look for words in."""
    return [f"{it.level}: {it.topic}: {it.what} / {it.todo}" for it in entries if level is None or it.level is level]


def one(entries: Iterable[Finding], level: Level) -> str:
    """The only finding that is more than a note."""
    weighty = [it for it in entries if it.level is not Level.NOTE]
    assert [it.level for it in weighty] == [level], found(weighty)
    if level in (Level.REFUSAL, Level.CONSENT):
        assert weighty[0].todo, "a refusal says what to do"
    return f"{weighty[0].what} / {weighty[0].todo}"


@pytest.mark.parametrize("node", ["gate-1", "office"])
@pytest.mark.parametrize("bacalhau", [False, True])
def test_nothing_is_said_of_a_good_machine(node: str, bacalhau: bool) -> None:
    facts = GOOD if node == "gate-1" else OFFICE
    entries = list(of_machine(facts, plan(node, bacalhau=bacalhau, clips=2), TODAY))
    assert [it for it in entries if it.level is not Level.NOTE] == []


def test_where_the_look_did_not_become_root_that_is_what_is_said() -> None:
    entries = list(of_machine(login(is_root=False, sudo="sudo: a password is required"), plan(), TODAY))
    assert "asks ops for a password" in one(entries, Level.REFUSAL)


@pytest.mark.parametrize(
    ("release", "level", "words"),
    [
        ({"ID": "debian", "VERSION_ID": "13"}, None, ""),
        ({"ID": "ubuntu", "VERSION_ID": "24.04", "ID_LIKE": "debian"}, None, ""),
        ({"ID": "raspbian", "VERSION_ID": "12", "ID_LIKE": "debian"}, None, ""),
        (
            {"ID": "debian", "VERSION_ID": "10", "PRETTY_NAME": "Debian 10"},
            Level.REFUSAL,
            "Debian 10, which is too old",
        ),
        ({"ID": "ubuntu", "VERSION_ID": "20.04", "ID_LIKE": "debian"}, Level.REFUSAL, "too old"),
        ({"ID": "debian", "VERSION_ID": "11", "PRETTY_NAME": "Debian 11"}, Level.CONSENT, "since 2026-08-31"),
        ({"ID": "linuxmint", "VERSION_ID": "22", "ID_LIKE": "ubuntu debian"}, Level.WARNING, "not tried"),
        ({"ID": "debian"}, Level.WARNING, "not tried"),
        ({"ID": "fedora", "VERSION_ID": "41", "PRETTY_NAME": "Fedora 41"}, Level.REFUSAL, "runs Fedora 41"),
        ({}, Level.REFUSAL, "an unknown system"),
    ],
)
def test_releases(release: dict[str, str], level: Level | None, words: str) -> None:
    entries = list(system.release(machine(release=release), plan(), TODAY))
    if level is None:
        assert entries == []
    else:
        assert words in one(entries, level)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"dpkg_arch": "arm64", "machine": "aarch64"}, "is arm64, the cluster document says amd64"),
        ({"dpkg_arch": "armhf", "machine": "aarch64"}, "is armhf (with a arm64 kernel)"),
        ({"dpkg_arch": "", "machine": "riscv64"}, "is riscv64"),
        ({"dpkg_arch": "i386", "machine": "x86_64"}, "is i386"),
    ],
)
def test_architectures(facts: dict[str, str], words: str) -> None:
    assert words in one(system.architecture(machine(**facts), plan()), Level.REFUSAL)


def test_init() -> None:
    assert "openrc" in one(system.init(machine(init="openrc", systemd=None), plan()), Level.REFUSAL)
    assert "maintenance" in one(system.init(machine(systemd="maintenance"), plan()), Level.REFUSAL)
    assert list(system.init(machine(systemd="degraded"), plan())) == []


def test_the_kernel() -> None:
    bare = {"overlay": "no", "bridge": "loaded", "veth": "builtin"}
    assert "no overlay" in one(system.kernel(machine(kernel=bare), plan()), Level.REFUSAL)
    upgraded = machine(kernel=bare, kernel_modules=False)
    assert "reboot the machine" in one(system.kernel(upgraded, plan()), Level.REFUSAL)
    monolithic = machine(kernel=bare, kernel_modules=False, kernel_modular=False)
    assert list(system.kernel(monolithic, plan())) == [], "what is built in cannot be seen there"
    assert "namespaces for net" in one(system.kernel(machine(namespaces_missing=("net",)), plan()), Level.REFUSAL)
    proven = machine(kernel=bare, docker=Docker(client="/usr/bin/docker", info={"ServerVersion": "27.5.1"}))
    assert list(system.kernel(proven, plan())) == [], "an engine that runs proves the kernel"


def test_memory_without_a_limit_needs_an_agreement_where_jobs_run() -> None:
    pi = machine(memory_cgroup=False, boot_file="/boot/firmware/cmdline.txt")
    entries = list(system.memory_limit(pi, plan()))
    assert "cgroup_enable=memory cgroup_memory=1` to /boot/firmware/cmdline.txt" in one(entries, Level.CONSENT)
    assert entries[0].consent == "no-memory-limit"
    assert list(system.memory_limit(pi, plan("office"))) == []
    assert list(system.memory_limit(machine(memory_cgroup=None), plan())) == []


@pytest.mark.parametrize(
    ("offset_s", "level", "words"),
    [
        (3.0, None, ""),
        (-30.0, Level.WARNING, "30 s behind"),
        (-10_800.0, Level.REFUSAL, "3 hours behind this machine's; apt would refuse"),
        (400.0 * 86400, Level.REFUSAL, "400 days ahead of"),
        (None, Level.WARNING, "could not be read"),
    ],
)
def test_clocks(offset_s: float | None, level: Level | None, words: str) -> None:
    entries = list(system.clock(machine(clock_offset_s=offset_s), plan()))
    assert words in one(entries, level) if level else entries == []


def test_a_slow_line_is_no_wrong_clock() -> None:
    assert list(system.clock(machine(clock_offset_s=12.0, clock_doubt_s=9.0), plan())) == []


def test_one_wrong_clock_here_is_not_told_as_many_there() -> None:
    plans_ = {"office": plan("office"), "gate-1": plan()}
    wrong = {name: machine(clock_offset_s=7200.0) for name in plans_}
    assert "this machine may be the wrong one" in found(system.clocks_together(wrong, plans_))[0]
    mixed = {"office": machine(clock_offset_s=0.0), "gate-1": machine(clock_offset_s=7200.0)}
    assert list(system.clocks_together(mixed, plans_)) == []


def test_time_daemons_of_the_owner_stay() -> None:
    chrony = machine(time_units={"chrony.service": "active"})
    assert found(system.time_daemon(chrony, plan())) == ["note: time: chrony keeps the clock, and stays / "]
    both = machine(time_units={"chrony.service": "active", "systemd-timesyncd.service": "active"})
    assert "chrony and systemd-timesyncd keep the clock at once" in one(system.time_daemon(both, plan()), Level.WARNING)
    lost = machine(time_units={"ntpsec.service": "active"}, synchronised=False)
    assert "not got the time" in one(system.time_daemon(lost, plan()), Level.WARNING)


def test_half_installed_packages() -> None:
    broken = machine(audit="The following packages are only half configured: linux-image")
    assert "dpkg --configure -a" in one(system.packages(broken, plan()), Level.REFUSAL)


def test_packages_of_the_owners_that_apt_would_touch() -> None:
    swap = machine(removals=("chrony", "docker-ce"), upgrades=("libc6",))
    assert "apt would remove chrony, docker-ce" in one(system.apt(swap, plan()), Level.REFUSAL)
    newer = list(system.apt(machine(upgrades=("libc6",)), plan()))
    assert "apt would upgrade libc6" in one(newer, Level.CONSENT)
    assert newer[0].consent == "apt-upgrade"
    assert list(system.apt(GOOD, plan())) == []


def test_a_journal_of_the_owners_that_would_be_cut() -> None:
    full = machine(journal_bytes=3_000_000_000)
    assert "3.0 GB and would be cut to 200M" in one(system.journal(full, plan()), Level.CONSENT)
    assert list(system.journal(full, plan(base_journal_max=""))) == [], "the knob leaves it"
    assert list(system.journal(full, plan(base_journal_max="4G"))) == []
    again = machine(journal_bytes=3_000_000_000, our_packages={"base": frozenset({"curl"})})
    assert list(system.journal(again, plan())) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sudo": "sudo: a password is required"}, "asks ops for a password"),
        ({"sudo": "sudo: a terminal is required to read the password; either use -S"}, "asks ops for a password"),
        ({"sudo": "sudo: sorry, you must have a tty to run sudo"}, "Defaults:ops !requiretty"),
        (
            {"sudo": "sudo: a password is required", "sudo_allows": "(root) NOPASSWD: /usr/bin/apt-get"},
            "some commands only",
        ),
        ({"sudo": "Sorry, user ops is not allowed to execute '/bin/sh' as root on gate."}, "may not use sudo"),
        ({"sudo": "ops is not in the sudoers file."}, "may not use sudo"),
        ({"sudo": "sh: 1: sudo: not found"}, "there is no sudo"),
        ({"sudo": "sudo: 1 incorrect password attempt"}, "does not take the password"),
        ({"sudo": "sudo: /etc/sudo.conf is world writable"}, "world writable"),
        ({"sudo": ""}, "it said nothing"),
    ],
)
def test_sudo(changes: dict[str, str], words: str) -> None:
    assert words in one(logins.sudo(login(is_root=False, **changes), plan()), Level.REFUSAL)


def test_login_shells() -> None:
    assert "/usr/sbin/nologin" in one(logins.shell(login(shell="/usr/sbin/nologin"), plan()), Level.REFUSAL)
    assert found(logins.shell(login(shell="/bin/tcsh"), plan())) == [
        "note: login shell: the login shell of ops is /bin/tcsh / "
    ]
    assert "load 0.1" in one(logins.shell(login(noise="Welcome load 0.1"), plan()), Level.WARNING)
    assert "umask 0077 (login)" in found(logins.umask(login(umask="0077"), plan()))[0]


def room(**free: int) -> Facts:
    """A machine with a file system for each folder that is named, with so many bytes free."""
    wanted = {f"/{name.replace('__', '/')}": bytes_ for name, bytes_ in free.items()}
    return machine(
        places=tuple(
            dataclasses.replace(it, device=it.folder, free_bytes=wanted[it.folder], there=it.folder)
            if it.folder in wanted
            else it
            for it in places()
        )
    )


def test_room_is_counted_once_for_each_file_system() -> None:
    said = one(space.space(room(var__lib__docker=150_000_000), plan()), Level.REFUSAL)
    assert "150 MB are free for /var/lib/docker" in said
    assert "mount a larger disk at /var/lib/docker" in said
    # Each folder alone would fit, all of them on one file system do not.
    shared = machine(places=places(free_bytes=1_500_000_000))
    said = one(space.space(shared, plan()), Level.REFUSAL)
    assert "/usr, /var/lib/docker, /var/lib/shoal" in said
    assert "1.5 GB are free" in said


def test_room_for_clips_that_are_there_already_is_not_asked_for() -> None:
    there = Videos(kind="folder", mount="/videos", clips={"clip-0.mp4": 1000})
    small = dataclasses.replace(room(videos=500), videos=there)
    assert list(space.space(small, plan(clips=1))) == []
    assert "fewer clips" in one(space.space(small, plan(clips=2)), Level.REFUSAL)


def test_a_deploy_typed_again_needs_little_room() -> None:
    again = machine(places=places(free_bytes=400_000_000), our_files=frozenset({"/var/lib/shoal/image.json"}))
    assert list(space.space(again, plan())) == []


def test_inodes_and_read_only_systems() -> None:
    few = machine(places=places(free_inodes=900))
    assert "900 files more" in one(space.space(few, plan()), Level.REFUSAL)
    assert list(space.space(machine(places=places(free_inodes=0)), plan())) == [], "btrfs says 0"
    # A disk of its own for the footage, where no packages come: exFAT says how many clusters are free.
    stick = tuple(
        dataclasses.replace(it, device="2", there=it.folder, free_inodes=2000) if it.folder == "/videos" else it
        for it in places()
    )
    assert list(space.space(machine(places=stick), plan(clips=2))) == []
    assert "2000 files more" in one(space.space(machine(places=stick), plan(clips=1950)), Level.REFUSAL)
    closed = machine(places=tuple(dataclasses.replace(it, writable=it.folder != "/etc") for it in places()))
    assert "raspi-config" in one(space.writable(closed, plan()), Level.REFUSAL)


ENGINE = Docker(
    client="/usr/bin/docker",
    package="docker-ce-cli",
    info={"ServerVersion": "27.5.1", "DockerRootDir": "/data/docker", "Swarm": {"LocalNodeState": "inactive"}},
)


def with_docker(base: Docker = ENGINE, **changes: Any) -> Facts:
    info = {**(base.info or {}), **changes.pop("info", {})} if base.info is not None else None
    return machine(docker=dataclasses.replace(base, info=info, **changes))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (machine(docker=Docker(client="/snap/bin/docker")), "snap remove docker"),
        (machine(docker=ENGINE, packages={"podman-docker": "4.3"}), "podman-docker"),
        (with_docker(version_words="podman version 4.3.1", info={}), "podman's"),
        (
            machine(docker=Docker(rootless=("/run/user/1000/docker.sock",), users_engines=("ops",))),
            "without root, for ops",
        ),
        (with_docker(info={"ServerVersion": "19.03.15"}), "19.03.15, at least 20.10"),
        (
            machine(docker=Docker(client="/usr/bin/docker", package="docker.io", words="Cannot connect")),
            "its engine does not answer: Cannot connect",
        ),
        (with_docker(daemon_json="{broken"), "not a JSON object"),
        (with_docker(daemon_json="[" * 100_000), "not a JSON object"),
    ],
)
def test_engines_that_cannot_be_used(facts: Facts, words: str) -> None:
    assert words in one(docker.engine(facts, plan()), Level.REFUSAL)


def test_an_engine_of_the_owners_is_used_and_what_it_does_is_listed() -> None:
    containers = (
        Container("nvr", running=True, restart="no", image="nvr:1", labels={}),
        Container("db", running=True, restart="always", image="db:1", labels={}),
        Container("old", running=False, restart="no", image="db:1", labels={}),
    )
    facts = with_docker(containers=containers, volumes=("a", "b"), engines=("dockerd", "kubelet"))
    said = "\n".join(found(docker.use(facts, plan())))
    assert "docker-ce-cli 27.5.1 is used as it is (data in /data/docker)" in said
    assert "2 containers run (nvr, db), 2 volumes are kept" in said
    assert "part of Kubernetes" in said
    assert "would end nvr for good" in said
    assert "docker update --restart unless-stopped nvr" in said
    live = with_docker(containers=containers, info={"LiveRestoreEnabled": True})
    assert found(docker.use(live, plan()), Level.WARNING) == []
    swarm = with_docker(info={"Swarm": {"LocalNodeState": "active"}})
    assert "a Docker swarm" in "\n".join(found(docker.use(swarm, plan())))


def test_a_rootless_engine_beside_the_systems_stays() -> None:
    facts = with_docker(users_engines=("cam",), rootless=("/run/user/1000/docker.sock",))
    assert found(docker.engine(facts, plan())) == [
        "note: docker: beside the system's engine there is a rootless one of cam; it stays as it is / "
    ]


def test_data_of_a_former_engine_and_bridges_need_an_agreement() -> None:
    left = machine(docker=Docker(old_data={"/var/lib/docker": 12, "/var/lib/containerd": 0}, old_volumes=2))
    entries = list(docker.newcomer(left, plan()))
    assert "left data in /var/lib/docker, 2 volumes among it" in one(entries, Level.CONSENT)
    bridged = machine(bridges={"br0": ("eth1", "vnet0"), "docker0": ()})
    assert "bridges br0 (eth1, vnet0)" in one(docker.newcomer(bridged, plan()), Level.CONSENT)
    assert list(docker.newcomer(dataclasses.replace(bridged, docker=ENGINE), plan())) == []


def test_an_engine_behind_a_proxy_needs_an_exception_for_the_registry() -> None:
    proxied = {"HttpProxy": "http://proxy:3128", "NoProxy": "localhost,10.9.0.0/16"}
    said = one(docker.proxy(with_docker(info=proxied), plan()), Level.REFUSAL)
    assert "10.0.0.2 is not among the exceptions" in said
    assert "systemctl edit docker" in said
    by_file = with_docker(info=proxied, daemon_json=json.dumps({"proxies": {"http-proxy": "http://proxy:3128"}}))
    assert "no-proxy in" in one(docker.proxy(by_file, plan()), Level.REFUSAL)
    for exceptions in ("10.0.0.0/24", "10.0.0.2", "*", "10.0.0.2:5000"):
        assert list(docker.proxy(with_docker(info={**proxied, "NoProxy": exceptions}), plan())) == []
    assert "10.0.0.2 is not" in one(
        docker.proxy(with_docker(info={**proxied, "NoProxy": "10.0.0.2:5001"}), plan()), Level.REFUSAL
    )
    coming = machine(manager_proxy={"http_proxy": "http://proxy:3128"})
    assert "DefaultEnvironment" in one(docker.proxy(coming, plan()), Level.REFUSAL)
    assert list(docker.proxy(machine(manager_proxy={"https_proxy": "http://proxy:3128"}), plan())) == []


def test_ports_of_others() -> None:
    office = machine(OFFICE, listeners=(listener(5000, process="docker-registry", unit="docker-registry.service"),))
    said = one(network.ports(office, plan("office")), Level.REFUSAL)
    assert "port 5000, which the site's registry takes, is docker-registry's on every address" in said
    assert "registry_port, docker_site_registry_port and yolov5_registry_port" in said
    elsewhere = machine(OFFICE, listeners=(listener(5000, "127.0.0.1"), listener(4222, "10.9.0.1")))
    assert list(network.ports(elsewhere, plan("office", bacalhau=True))) == []
    read_port = machine(
        OFFICE, listeners=(listener(5000, "10.0.0.2", "docker-registry", "shoal-registry-read.service"),)
    )
    assert list(network.ports(read_port, plan("office"))) == []
    local = machine(OFFICE, listeners=(listener(5001, "127.0.0.1"),))
    assert "registry_write_port" in one(network.ports(local, plan("office")), Level.REFUSAL)
    moved = plan("office", registry_port=5005)
    assert list(network.ports(office, moved)) == [], "the knob gives ours another port"
    drop_in = "/etc/systemd/system/docker-registry.service.d/shoal.conf"
    assert list(network.ports(machine(office, our_files=frozenset({drop_in})), plan("office"))) == []
    nameless = tuple(listener(port, "10.0.0.2", "", "") for port in (5000, 4222))
    hidden = machine(OFFICE, listeners=nameless)
    assert len(list(network.ports(hidden, plan("office", bacalhau=True)))) == 2
    again = machine(
        OFFICE,
        listeners=nameless,
        our_files=frozenset({drop_in}),
        our_units=frozenset({"bacalhau-orchestrator.service"}),
    )
    assert list(network.ports(again, plan("office", bacalhau=True))) == [], "an earlier deploy of ours"
    nats = machine(OFFICE, listeners=(listener(4222, "10.0.0.2", "nats-server", "nats.service"),))
    assert "bacalhau_nats_port" in one(network.ports(nats, plan("office", bacalhau=True)), Level.REFUSAL)


def test_what_the_sites_packet_filter_closes_is_listed() -> None:
    own = (listener(80, process="nginx"), listener(554, "10.0.0.2", "rtsp"), listener(631, "127.0.0.1"), listener(22))
    office = machine(OFFICE, listeners=own)
    assert list(network.closed_by_us(office, plan("office"))) == []
    said = one(network.closed_by_us(office, dataclasses.replace(plan("office"), firewall=True)), Level.WARNING)
    assert "80 (nginx), 554 (rtsp)" in said


def test_the_requesters_address() -> None:
    assert list(network.peer_address(OFFICE, plan("office"))) == []
    nat = machine(OFFICE, addresses=frozenset({"127.0.0.1", "192.168.1.2"}))
    assert "it has no address 10.0.0.2" in one(network.peer_address(nat, plan("office")), Level.REFUSAL)
    assert list(network.peer_address(nat, plan("office", registry_bind="192.168.1.2"))) == []
    named = dataclasses.replace(plan("office"), requester="office.plant")
    looped = machine(OFFICE, names={"office.plant": ("127.0.1.1",)})
    assert "means 127.0.1.1 there (see its /etc/hosts)" in one(network.peer_address(looped, named), Level.REFUSAL)
    assert "means nothing there" in one(network.peer_address(OFFICE, named), Level.REFUSAL)
    elsewhere = dataclasses.replace(plan(), requester="office.plant")
    assert "means nothing there" in one(network.names_of_requester(machine(), elsewhere), Level.REFUSAL)
    itself = machine(names={"office.plant": ("127.0.0.1",)})
    assert "means itself there" in one(network.names_of_requester(itself, elsewhere), Level.REFUSAL)


FIREWALLS = {
    "ufw": {"ufw": "Status: active\nDefault: deny (incoming), allow (outgoing)\n"},
    "firewalld": {"firewalld": "running\npublic (active)\n"},
    "nftables": {"nft": "table inet filter {\n chain input {\n type filter hook input priority 0; policy drop;\n }\n}"},
    "iptables": {"iptables": "-P INPUT DROP\n-A INPUT -i lo -j ACCEPT"},
}


@pytest.mark.parametrize("firewall", FIREWALLS)
@pytest.mark.parametrize("how", [Reach.SILENT, Reach.REFUSED, Reach.UNROUTED])
def test_a_firewall_between_a_machine_and_the_registry(firewall: str, how: Reach) -> None:
    facts = {"office": machine(OFFICE, firewalls=FIREWALLS[firewall]), "gate-1": GOOD}
    plans_ = {"office": plan("office"), "gate-1": plan()}
    entries = list(network.reachable(facts, plans_, {("gate-1", 5000): how}, "office"))
    said = one(entries, Level.REFUSAL)
    assert f"{firewall} is active on office" in said
    assert "10.0.0.3" in said.partition(" / ")[2], "the way to open it names the machine that has to get in"
    assert "5000" in said.partition(" / ")[2]
    let_in = list(network.reachable(facts, plans_, {("gate-1", 5000): Reach.OPEN}, "office"))
    assert [it.level for it in let_in] == [Level.NOTE]


def test_a_way_that_is_closed_without_a_firewall_on_the_requester() -> None:
    facts = {"office": OFFICE, "gate-1": GOOD}
    plans_ = {"office": plan("office"), "gate-1": plan()}
    entries = network.reachable(facts, plans_, {("gate-1", 5000): Reach.SILENT}, "office")
    assert "network between the two" in one(entries, Level.REFUSAL)
    own = {**facts, "gate-1": machine(firewalls=FIREWALLS["nftables"])}
    assert "nftables is active on gate-1" in one(
        network.reachable(own, plans_, {("gate-1", 5000): Reach.SILENT}, "office"), Level.REFUSAL
    )
    assert "could not be tried" in one(
        network.reachable(facts, plans_, {("gate-1", 5000): Reach.UNKNOWN}, "office"), Level.WARNING
    )


def test_a_requester_that_is_not_looked_at_may_not_listen_yet() -> None:
    alone = {"gate-1": plan()}
    refused = network.reachable({"gate-1": GOOD}, alone, {("gate-1", 5000): Reach.REFUSED}, "office")
    assert "nothing listens there / deploy office first" in one(refused, Level.WARNING)
    silent = network.reachable({"gate-1": GOOD}, alone, {("gate-1", 5000): Reach.SILENT}, "office")
    assert "the site's registry" in one(silent, Level.REFUSAL)


def test_a_firewall_that_lets_all_in_is_none() -> None:
    open_ = "-P INPUT ACCEPT\n-P FORWARD DROP\n-A FORWARD -j DOCKER-USER"
    assert network.active_firewalls(machine(firewalls={"iptables": open_, "ufw": "Status: inactive"})) == []
    both = {**FIREWALLS["iptables"], "nft": FIREWALLS["nftables"]["nft"]}
    assert network.active_firewalls(machine(firewalls=both)) == ["iptables"], "nft shows the rules of iptables, too"
    docker_only = "table ip filter {\n chain FORWARD {\n type filter hook forward priority 0; policy drop;\n }\n}"
    assert network.active_firewalls(machine(firewalls={"nft": docker_only, "firewalld": "not running"})) == []


def test_twins() -> None:
    plans_ = {"office": plan("office", base_hostname=False), "gate-1": plan(base_hostname=False)}
    same = {"office": GOOD, "gate-1": GOOD}
    entries = list(network.twins(same, plans_))
    assert "is the same machine as office" in found(entries, Level.REFUSAL)[0]
    copied = {"office": machine(OFFICE, machine_id=GOOD.machine_id), "gate-1": GOOD}
    assert "one was copied from the other" in one(network.twins(copied, plans_), Level.WARNING)
    namesakes = {"office": machine(OFFICE, hostname="gate"), "gate-1": GOOD}
    assert "its host name is gate, as office's is" in one(network.twins(namesakes, plans_), Level.WARNING)
    renamed = {"office": plan("office", base_hostname=True), "gate-1": plan(base_hostname=True)}
    assert list(network.twins(namesakes, renamed)) == []
    assert list(together({"office": OFFICE, "gate-1": GOOD}, plans_)) == []


def folder(**changes: Any) -> Facts:
    return machine(videos=dataclasses.replace(GOOD.videos, **changes))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (folder(options=frozenset({"ro"}), file_system="ext4", mount="/videos"), "mounted read-only (ext4 at /videos)"),
        (folder(file_system="exfat", mount="/videos"), "is on exfat"),
        (folder(file_system="vfat", mount="/videos"), "keeps no owners and modes"),
        (folder(kind="other"), "is no folder"),
        (folder(clips={"clip-0.mp4": 7}), "other files under the names of clips that are to be placed: clip-0.mp4"),
    ],
)
def test_where_clips_cannot_be_placed(facts: Facts, words: str) -> None:
    assert words in one(videos.videos(facts, plan(clips=2)), Level.REFUSAL)
    assert (
        "--no-videos" in one(videos.videos(facts, plan(clips=2)), Level.REFUSAL)
        or "move it away" in words + "move it away"
    )


def test_footage_of_the_owners_is_read_wherever_it_lies() -> None:
    for kind in ("exfat", "vfat", "ext4"):
        facts = folder(options=frozenset({"ro"}), file_system=kind, mount="/videos")
        assert found(videos.videos(facts, plan()), Level.REFUSAL) == []
    nfs = folder(file_system="nfs4", mount="/videos")
    assert "network file system (nfs4" in one(videos.videos(nfs, plan()), Level.WARNING)
    squashed = dataclasses.replace(
        nfs, places=tuple(dataclasses.replace(it, writable=it.folder != "/videos") for it in places())
    )
    assert "not by root either" in "\n".join(found(videos.videos(squashed, plan(clips=1)), Level.REFUSAL))
    dead = folder(kind="silent", file_system="nfs4", mount="/videos")
    assert "does not answer (nfs4 mounted at /videos)" in one(videos.videos(dead, plan()), Level.REFUSAL)
    gone = folder(kind="broken", words="Transport endpoint is not connected", file_system="fuse.sshfs", mount="/videos")
    said = one(videos.videos(gone, plan(clips=1)), Level.REFUSAL)
    assert "(Transport endpoint is not connected; fuse.sshfs mounted at /videos)" in said
    assert "allow_other" in said
    nowhere = folder(kind="broken", link="/mnt/disk/videos", mount="/")
    assert "a link to /mnt/disk/videos, which is not there" in one(videos.videos(nowhere, plan()), Level.REFUSAL)
    memory = folder(file_system="tmpfs", mount="/videos")
    assert "gone after a boot" in one(videos.videos(memory, plan(clips=1)), Level.WARNING)


@pytest.mark.parametrize(
    ("node", "beside", "read_only", "no_owners"),
    [
        ({"camera_folders": ("/srv/north",)}, (), "the places where its camera folders are shown", None),
        ({"camera_folders": ("/videos/north",)}, (), None, None),
        ({}, ("the privacy policy",), "the privacy policy", "the privacy policy"),
    ],
)
def test_what_else_of_ours_comes_into_the_folder(
    node: dict[str, Any], beside: tuple[str, ...], read_only: str | None, no_owners: str | None
) -> None:
    """No clips are to be placed, and a deploy would still fail in the midst of its work."""
    wanted = dataclasses.replace(plan(), node=plan().node.model_copy(update=node), beside_clips=beside)
    cameras = dict.fromkeys(("/srv/north", "/videos/north"), "there")
    closed = folder(options=frozenset({"ro"}), mount="/videos", cameras=cameras)
    stick = dataclasses.replace(closed.videos, options=frozenset({"rw"}), file_system="exfat")
    for facts, words in ((closed, read_only), (machine(videos=stick), no_owners)):
        said = found(videos.videos(facts, wanted), Level.REFUSAL)
        named = [text.partition("; to be placed there: ")[2].partition(" / ")[0] for text in said]
        assert named == ([words] if words else [])
        assert "--no-videos" not in "".join(said)


def test_what_a_plan_puts_beside_the_clips() -> None:
    camera = {"name": "gate", "source": "rtsp://192.0.2.50/1"}
    node = Node(
        name="gate-1",
        roles=("compute",),
        address="192.0.2.21",
        cameras=(Camera.model_validate(camera),),
        privacy=Privacy(key_frames=2),
    )
    office = Node(name="office", roles=("requester",), address="192.0.2.10")
    cluster = Cluster(name="depot", substrate="onprem", nodes=(office, node))
    made = plans(cluster, ["office", "gate-1"], None, bacalhau=False, knobs={})
    assert made["gate-1"].beside_clips == ("the privacy policy", "the recordings of its cameras")
    assert made["office"].beside_clips == ()
    empty = machine(videos=Videos())
    assert list(videos.videos(empty, made["gate-1"])) == [], "it records"


def test_camera_folders_that_are_away() -> None:
    north, south, east = "/srv/north", "/srv/south", "/srv/east"
    filmed = dataclasses.replace(plan(), node=plan().node.model_copy(update={"camera_folders": (north, south, east)}))
    away = {north: "there", south: "missing", east: "silent"}
    # Also where nothing is under the videos folder yet.
    for facts in (folder(cameras=away), machine(videos=Videos(cameras=away))):
        missing, silent = found(videos.videos(facts, filmed), Level.REFUSAL)
        assert f"there is no camera folder {south} / make or mount it there" in missing
        assert f"the camera folder {east} does not answer: its server or its disk is away / bring that back" in silent


def test_a_machine_without_any_video() -> None:
    nothing = machine(videos=Videos())
    assert "no video under /videos" in one(videos.videos(nothing, plan()), Level.WARNING)
    assert list(videos.videos(nothing, plan("office"))) == []
    assert list(videos.videos(nothing, plan(clips=1))) == []


def test_agreements() -> None:
    entries = list(system.memory_limit(machine(memory_cgroup=False), plan()))
    assert [it.level for it in agreed(entries, ["no-memory-limit"])] == [Level.WARNING]
    assert [it.level for it in agreed(entries, ["docker-restart"])] == [Level.CONSENT]


def test_the_weightiest_come_first_and_each_once() -> None:
    first = Finding("gate-1", "b", Level.REFUSAL, "x")
    second = Finding("office", "a", Level.NOTE, "x")
    assert ordered([second, first, first], ["office", "gate-1"]) == [first, second]


def test_every_consent_that_a_rule_asks_for_can_be_given() -> None:
    import ast
    from pathlib import Path

    rules = Path(system.__file__).parent
    asked = {
        node.value
        for file in rules.glob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "consent"
        for node in call.args[3:4]
        if isinstance(node, ast.Constant)
    }
    assert asked
    assert asked <= set(CONSENTS)
