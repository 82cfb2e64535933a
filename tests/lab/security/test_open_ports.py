"""What a machine on the site's network finds: the ports of the table in docs/security.md alone, and the secrets of the
engine where its other table has them alone."""

from __future__ import annotations

import json

import pytest
from attack_ground import Ground

from shoal.engines.bacalhau import secrets

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

SCAN = """
import json, selectors, socket, sys
address, found, ports = sys.argv[1], [], list(range(1, 65536))
while ports:
    some, ports = ports[:500], ports[500:]
    with selectors.DefaultSelector() as waiting:
        for port in some:
            way = socket.socket()
            way.setblocking(False)
            way.connect_ex((address, port))
            waiting.register(way, selectors.EVENT_WRITE, port)
        while waiting.get_map() and (ready := waiting.select(2)):
            for key, _ in ready:
                if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    found.append(key.data)
                waiting.unregister(key.fileobj)
                key.fileobj.close()
        for key in list(waiting.get_map().values()):
            key.fileobj.close()
print(json.dumps(sorted(found)))
"""


@pytest.mark.parametrize("target", ["requester", "compute-2"])
def test_nothing_but_the_tables_ports_is_open(ground: Ground, target: str) -> None:
    """Every TCP port, from another node."""
    address = ground.lab.cluster.node(target).address
    scanned = ground.done("compute-1", "python3", "-", address, given=SCAN)
    assert scanned.returncode == 0, scanned.stderr
    engine = {4222} if ground.engine == "bacalhau" else set()
    wanted = {22, 5000, *engine} if target == "requester" else {22}
    assert set(json.loads(scanned.stdout)) == wanted


LOOK = """
patterns=$(mktemp /dev/shm/patterns.XXXXXX)
trap 'rm -f "$patterns"' EXIT
cat >"$patterns"
cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -qFf "$patterns" && echo processes
journalctl --quiet --no-pager --output cat | grep -qFf "$patterns" && echo journal
docker ps --all --quiet | xargs -r docker inspect | grep -qFf "$patterns" && echo containers
systemctl show '*' --property Environment --property ExecStart 2>/dev/null | grep -qFf "$patterns" && echo units
set -- /etc /root /home /tmp /run/systemd /usr/local /var/lib/bacalhau /var/lib/shoal /var/log /var/tmp
grep -rlIsFf "$patterns" "$@"
true
"""


def test_the_engines_secrets_are_where_the_table_has_them_and_nowhere_else(engine: Ground) -> None:
    tokens = secrets.load(engine.lab.name)
    assert tokens is not None
    assert tokens.tls is not None
    keys = [tokens.node_token, tokens.control_key, tokens.reader_key, tokens.client_key]
    # Of a key in PEM a line of its body, whatever is around it.
    pem = [key.get_secret_value().splitlines()[1] for key in (tokens.tls.authority_key, tokens.tls.key)]
    patterns = "\n".join([*(key.get_secret_value() for key in keys), *pem]) + "\n"
    found = {
        node.name: set(engine.done(node.name, "sh", "-c", LOOK, given=patterns).stdout.splitlines())
        for node in engine.lab.cluster.nodes
    }
    compute = {"/etc/bacalhau/compute.yaml"}
    orchestrator = {"/etc/bacalhau/orchestrator.yaml", "/etc/bacalhau/orchestrator.key"}
    assert found == {"requester": orchestrator, "compute-1": compute, "compute-2": compute}
    only = "\n".join(key.get_secret_value() for key in keys[1:]) + "\n" + pem[0] + "\n"
    for node in ("compute-1", "compute-2"):
        assert engine.done(node, "sh", "-c", LOOK, given=only).stdout == ""
    for node in (node.name for node in engine.lab.cluster.nodes):
        assert engine.done(node, "sh", "-c", LOOK, given=pem[0] + "\n").stdout == ""
