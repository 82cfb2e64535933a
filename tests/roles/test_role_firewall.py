"""Role `firewall`: what is let in, what is refused, and that a rule set which locks out takes itself back."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from role_harness import CLUSTER, changed, file_answer, run, unit_answer

from roles import firewall
from roles.common.knobs import RefusedError
from roles.firewall import operations
from roles.firewall.defaults import Firewall
from roles.firewall.rules import Connection, Openings, connection, management, refusal, stamp, text

OPENINGS = Openings(mesh_interface="tailscale0", ssh_ports=(22,), management=("192.0.2.21",))
INTERFACES = {"192.0.2.21": "eth0", "100.64.0.2": "tailscale0", "127.0.0.1": "lo"}
ADDRESSES = [f"{address}/24 {interface}" for address, interface in INTERFACES.items()]
SSH = ["192.0.2.1 50000 192.0.2.21 22"]


def chain(rules: str, name: str) -> str:
    return rules.split(f"chain {name} {{")[1].split("\t}", maxsplit=1)[0]


def test_only_our_own_table_is_touched():
    rules = text(OPENINGS)
    assert "flush ruleset" not in rules
    assert {line for line in rules.splitlines() if "table" in line} == {
        "table inet shoal_firewall",
        "delete table inet shoal_firewall",
        "table inet shoal_firewall {",
    }


def test_nothing_is_let_in_but_ssh_and_the_mesh():
    incoming = chain(text(OPENINGS), "input")
    assert "policy drop" in incoming
    ports = [line.strip() for line in incoming.splitlines() if "tcp" in line]
    assert ports == ["ip daddr 192.0.2.21 tcp dport { 22 } accept"]
    assert 'iifname { "lo", "tailscale0" } accept' in incoming
    assert incoming.index("tcp dport { 22 }") < incoming.index("ip saddr 100.64.0.0/10 drop")
    assert "41641" not in incoming
    assert "udp dport 41641 accept" in text(Openings("tailscale0", (22,), (), direct_udp_port=41641))
    assert "echo-request" not in text(Openings("tailscale0", (22,), (), ping=False))


def test_published_ports_end_where_they_come_from_outside_and_nowhere_else():
    forwarded = [line.strip() for line in chain(text(OPENINGS), "forward").splitlines() if line.strip()]
    assert "policy accept" in forwarded[0]
    assert forwarded[-1] == "ct status dnat drop"
    assert forwarded.index('iifname "docker0" accept') < len(forwarded) - 1
    assert sum("drop" in line for line in forwarded) == 1


def test_ssh_by_address_family():
    rules = text(Openings("tailscale0", (2222, 22), ("192.0.2.21", "2001:db8::5")))
    assert "ip daddr 192.0.2.21 tcp dport { 22, 2222 } accept" in rules
    assert "ip6 daddr 2001:db8::5 tcp dport { 22, 2222 } accept" in rules
    assert "\t\ttcp dport { 22 } accept" in text(Openings("tailscale0", (22,), ()))


def test_a_lan_sites_requester_lets_its_own_nodes_in_and_nobody_else():
    peers = ("192.0.2.21", "192.0.2.22", "2001:db8::/64")
    rules = text(Openings("tailscale0", (22,), ("192.0.2.10",), peers=peers, peer_ports=(5000, 4222)))
    incoming = chain(rules, "input")
    assert "ip saddr { 192.0.2.21, 192.0.2.22 } tcp dport { 4222, 5000 } accept" in incoming
    assert "ip6 saddr { 2001:db8::/64 } tcp dport { 4222, 5000 } accept" in incoming
    assert "5000" not in text(OPENINGS)


def test_nodes_are_let_in_by_their_addresses_and_names_are_refused(logins):
    office = run(firewall.install, answers(), node="office")
    assert not office.failed
    assert "ip saddr { 192.0.2.21, 192.0.2.22 } tcp dport { 4222, 5000 } accept" in decoded(office)
    assert "tcp dport { 4222, 5000 }" not in decoded(run(firewall.install, answers(), node="gate-1"))
    mesh = run(firewall.install, answers(), node="office", cluster=CLUSTER.model_copy(update={"mesh": "tailscale"}))
    assert "tcp dport { 4222, 5000 }" not in decoded(mesh)
    other = CLUSTER.nodes[1].model_copy(update={"address": "gate-1.example"})
    named = CLUSTER.model_copy(update={"nodes": (CLUSTER.nodes[0], other)})
    with pytest.raises(RefusedError, match=r"gate-1\.example: is a name"):
        run(firewall.install, answers(), node="office", cluster=named)
    data = {"firewall_peer_addresses": ["192.0.2.0/24"]}
    given = run(firewall.install, answers(), node="office", cluster=named, data=data)
    assert "ip saddr { 192.0.2.0/24 }" in decoded(given)


def decoded(outcome):
    """The rules among a deploy's commands."""
    found = [base64.b64decode(word) for word in re.findall(r"printf %s (\S+) \| base64 -d > ", outcome.text())]
    return b"".join(found).decode()


def test_whoever_empties_the_rule_set_has_ours_put_back():
    again = (operations.FILES / "nftables.conf").read_text()
    for moment in ("ExecStartPost", "ExecReload", "ExecStopPost"):
        assert f"{moment}=-/usr/bin/systemctl --no-block start shoal-firewall-check.service" in again
    assert "nftables.service" in (operations.FILES / "firewall.service").read_text().split("After=")[1].splitlines()[0]
    check = (operations.FILES / "check.service").read_text()
    assert "ConditionPathExists=!/run/shoal-firewall" in check  # new rules that are being tried are not undone


def test_the_stamp_follows_the_rules():
    assert stamp(OPENINGS) != stamp(Openings("tailscale0", (22, 2222), ("192.0.2.21",)))
    assert f"chain {stamp(OPENINGS)} {{" in text(OPENINGS)


@pytest.mark.parametrize(
    ("own", "why"),
    [
        (Connection("192.0.2.21", 22, "eth0"), None),
        (Connection("100.64.0.2", 22, "tailscale0"), None),
        (Connection("127.0.0.1", 22, "lo"), None),  # userspace mode
        (None, None),
        (Connection("192.0.2.21", 2222, "eth0"), "port 2222"),
        (Connection("198.51.100.7", 22, "eth1"), "198.51.100.7"),
    ],
)
def test_rules_that_would_cut_this_connection(own, why):
    found = refusal(OPENINGS, own)
    assert (found is None) if why is None else why in found


def test_the_connection_as_the_machine_sees_it():
    assert connection(SSH[0], INTERFACES) == Connection("192.0.2.21", 22, "eth0")
    assert connection("::ffff:192.0.2.1 1 ::ffff:192.0.2.21 22", INTERFACES) == Connection("192.0.2.21", 22, "eth0")
    assert connection("fe80::1%eth0 1 fe80::2%eth0 22", {"fe80::2": "eth0"}).interface == "eth0"
    assert connection("", INTERFACES) is None


def test_where_ssh_is_let_in():
    assert management((), "192.0.2.21", INTERFACES) == ("192.0.2.21",)
    assert management((), "203.0.113.9", INTERFACES) == ()  # behind a translated address
    assert management(("192.0.2.99",), "192.0.2.21", INTERFACES) == ("192.0.2.99",)


def answers(**more):
    common = {
        "dpkg-query": ["nftables installed"],
        **{
            f"[ ! -f {path} ]": file_answer((operations.FILES / name).read_text())
            for path, name in firewall.OUR_FILES.items()
        },
        "UNIT=shoal-firewall-check.timer": unit_answer(),
        "ip -o addr": ADDRESSES,
        "sshd -T": ["22"],
        "SSH_CONNECTION": SSH,
    }
    return {**more, **{key: value for key, value in common.items() if key not in more}}


@pytest.fixture
def logins(monkeypatch):
    """Logins from the control machine: noted, and answered by `answer`."""

    class Logins(list):
        answer = staticmethod(lambda node, command: None)

    seen = Logins()

    def login(cluster, node, *command):
        seen.append((node.address, command))
        return seen.answer(node, command)

    monkeypatch.setattr(operations, "_login", login)
    return seen


def test_a_fresh_machine_is_closed_only_after_a_new_login(logins):
    outcome = run(firewall.install, answers())
    body = outcome.text()
    assert not outcome.failed
    assert changed(outcome) == ["firewall | Let nothing in but SSH and the mesh"]
    assert "/etc/shoal/firewall.nft.new" in body
    # Before: does the way work at all? After: does it still? Only then the rules are made lasting, over a new login.
    assert [command[0] for _, command in logins] == ["true", "true", "sh"]
    assert "mv /etc/shoal/firewall.nft.new /etc/shoal/firewall.nft" in logins[-1][1][2]


def test_rules_that_lock_out_are_taken_back(logins, caplog):
    seen = []

    def answer(node, command):
        seen.append(command)
        return None if len(seen) == 1 else "connection timed out"

    logins.answer = answer
    with caplog.at_level("ERROR"):
        outcome = run(firewall.install, answers())
    assert outcome.failed
    assert "locked us out" in caplog.text
    assert not any(command[0] == "sh" for command in seen)


def test_rules_that_would_cut_are_not_even_tried(logins):
    wrong = answers(**{"SSH_CONNECTION": ["192.0.2.1 50000 192.0.2.21 2222"]})
    outcome = run(firewall.install, wrong)
    assert outcome.failed
    assert logins == []
    assert "firewall.nft.new" not in outcome.text()


def test_a_machine_whose_rules_are_in_force_is_left_alone(logins):
    sha256 = hashlib.sha256(text(OPENINGS).encode()).hexdigest()
    state = {"nft list chain": [f"file {sha256}", "kernel yes", "boot enabled", "clock inactive"]}
    assert changed(run(firewall.install, answers(**state))) == []
    assert logins == []
    for broken in ("kernel no", "boot disabled", "clock active"):
        key = broken.split()[0]
        lines = [line for line in state["nft list chain"] if not line.startswith(key)] + [broken]
        assert changed(run(firewall.install, answers(**{"nft list chain": lines}))) != []


def test_faulty_knobs():
    bad = {
        "firewall_mesh_interface": "a b",
        "firewall_management_addresses": ["gate"],
        "firewall_ssh_ports": [0],
        "firewall_direct_udp_port": 70000,
        "firewall_rollback_s": 1,
    }
    with pytest.raises(RefusedError) as caught:
        run(firewall.install, {}, data=bad)
    assert len(caught.value.faults) == len(bad)
    assert Firewall().faults() == []


def test_remove():
    found = {
        "nft list table": ["table", "file", "unit"],
        "for p in /etc/shoal/firewall.nft": ["/etc/shoal/firewall.nft"],
    }
    body = run(firewall.remove, found).text()
    assert body.index("nft delete table inet shoal_firewall") < body.index("rm -rf")
    assert changed(run(firewall.remove, {})) == []
