"""Role `tailscale`: the machine on a tailnet, so that the cluster needs no open port."""

from __future__ import annotations

from pathlib import Path

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.common import knobs
from roles.common.apt_source import vendor_source
from roles.common.facts import Existing
from roles.common.knobs import RefusedError
from roles.common.operations import (
    RECORDS,
    recorded_files_absent,
    recorded_packages_absent,
    service,
    service_absent,
    text_file,
    trees_recorded,
)
from roles.tailscale.defaults import Tailscale
from roles.tailscale.facts import OwnersDaemon, TailscaleStatus
from roles.tailscale.operations import ROLE, given_binaries, let_go, logged_out, member, package
from roles.tailscale.status import Step, Wanted, decide
from shoal.cluster.document import Node
from shoal.errors import Fault

UNIT = "tailscaled.service"
OUR_UNIT = "/etc/systemd/system/tailscaled.service"
DEFAULTS = "/etc/default/tailscaled"
KEYRING = "/etc/apt/keyrings/shoal-tailscale.asc"
SOURCES = "/etc/apt/sources.list.d/shoal-tailscale.sources"
BINARIES = {"tailscaled": "/usr/local/sbin/tailscaled", "tailscale": "/usr/local/bin/tailscale"}
STATE = ("/var/lib/tailscale", "/var/cache/tailscale")
USERSPACE_FLAGS = (
    "--tun=userspace-networking --socks5-server=127.0.0.1:1055 --outbound-http-proxy-listen=127.0.0.1:1056"
)
FILES = Path(__file__).parent / "files"
TUN = "/dev/net/tun"


def wanted(settings: Tailscale, node: Node) -> Wanted:
    """How this node is to stand on the tailnet."""
    return Wanted(
        hostname=settings.hostname(node),
        tags=settings.tags(node),
        login_server=settings.tailscale_login_server,
        accept_dns=settings.tailscale_accept_dns,
        ssh=settings.tailscale_ssh,
        netfilter=settings.tailscale_netfilter,
    )


def defaults_text(settings: Tailscale, *, userspace: bool) -> str:
    """What the daemon's unit reads, the vendor's and ours alike."""
    variables = {} if settings.tailscale_telemetry else {"TS_NO_LOGS_NO_SUPPORT": "true"}
    variables |= settings.tailscale_environment
    lines = [f'PORT="{settings.tailscale_port}"', f'FLAGS="{USERSPACE_FLAGS if userspace else ""}"']
    lines += [f'{name}="{value}"' for name, value in sorted(variables.items())]
    return "# Written by shoal's role `tailscale`; changes are overwritten.\n" + "\n".join(lines) + "\n"


def owners_daemon() -> str:
    """A daemon on the machine that did not come with us, by the path of its program; empty where there is none."""
    return host.get_fact(
        OwnersDaemon,
        packages=str(RECORDS / f"{ROLE}.packages"),
        placed=str(RECORDS / f"{ROLE}.files"),
        unit_file=OUR_UNIT,
    )


def refuse_unfit(daemon: str, settings: Tailscale, node: Node) -> None:
    """Raise RefusedError where an owner's daemon cannot serve as it is; neither it nor its registration is changed."""
    status = host.get_fact(TailscaleStatus)
    decision = decide(status, wanted(settings, node))
    if status is not None and decision.step in {Step.NOTHING, Step.SETTINGS}:
        return
    why = "it does not answer" if status is None else decision.why
    raise RefusedError(
        "the machine's own Tailscale is used as it is, and cannot be",
        [Fault(node.name, f"{daemon} is its owner's, and stays as it is: {why}")],
        hint="bring it onto the tailnet on that machine yourself (tailscale up), with the tags that are wanted",
    )


@deploy("tailscale")
def install() -> None:
    """Settings first, then the daemon, then the tailnet. A daemon of the machine's owner is used as it is."""
    settings = knobs.read(Tailscale, host)
    node = knobs.node_of(host)
    if daemon := owners_daemon():
        refuse_unfit(daemon, settings, node)
        return
    userspace = settings.tailscale_userspace == "on" or (
        settings.tailscale_userspace == "auto" and not host.get_fact(Existing, paths=(TUN,))
    )
    text_file(
        name="Configure the daemon", path=DEFAULTS, content=defaults_text(settings, userspace=userspace), role=ROLE
    )
    trees_recorded(name="Note what the daemon is going to make", paths=STATE, role=ROLE)
    read = [DEFAULTS]
    if settings.tailscale_source == "package":
        vendor_source(
            name="Add the vendor's repository",
            repository=settings.tailscale_repository,
            key_file=settings.tailscale_key_file,
            keyring=KEYRING,
            sources=SOURCES,
            component="main",
            role=ROLE,
            distributions=("debian", "ubuntu", "raspbian"),
            otherwise="use tailscale_source binaries, or an image with Debian, Ubuntu or Raspberry Pi OS",
        )
        package(
            name="Install the package",
            version=settings.tailscale_version,
            role=ROLE,
            _timeout=settings.tailscale_apt_timeout_s,
        )
    else:
        given_binaries(name="Place the given binaries", folder=_given(settings, node), places=BINARIES)
        text_file(
            name="Write the unit",
            path=OUR_UNIT,
            content=(FILES / "tailscaled.service").read_text(encoding="utf-8"),
            role=ROLE,
        )
        read += [OUR_UNIT, BINARIES["tailscaled"]]
    service(name="Run the daemon", unit=UNIT, config_files=read, _timeout=60)
    member(
        name="Join the tailnet",
        wanted=wanted(settings, node),
        settings=settings,
        node=node.name,
        ephemeral=node.spot if settings.tailscale_ephemeral is None else settings.tailscale_ephemeral,
        _timeout=settings.tailscale_join_timeout_s + 30,
    )


@deploy("tailscale")
def remove() -> None:
    """Log out, then take away what `install` put. Refused over the mesh itself: it would saw off its own branch."""
    settings = knobs.read(Tailscale, host)
    node = knobs.node_of(host)
    if node.first_address is not None:
        raise RefusedError(
            "the mesh cannot be removed over the mesh",
            [Fault(node.name, f"is reached at {node.address}, its address on the tailnet")],
            hint="go back to the first addresses with `shoal mesh off`",
        )
    if owners_daemon():
        return
    logged_out(name="Leave the tailnet", keep_unknown=settings.tailscale_keep_unknown, _timeout=60)
    service_absent(name="Stop the daemon", unit=UNIT)
    let_go(name="Let the package go")
    # It brings packet filter programs, which the container engine needs as well.
    recorded_packages_absent(
        name="Remove the package", role=ROLE, keep_needed=True, _timeout=settings.tailscale_apt_timeout_s
    )
    recorded_files_absent(
        name="Remove its settings and state",
        role=ROLE,
        legacy=[OUR_UNIT, *BINARIES.values(), DEFAULTS, KEYRING, SOURCES, *STATE],
    )


def _given(settings: Tailscale, node: Node) -> Path:
    folder = settings.binaries(node)
    if folder is None or not (folder / "tailscaled").is_file():
        raise RefusedError(
            "the given binaries cannot be used",
            [Fault(f"{node.name}: tailscale_binaries", f"there is no tailscaled for {node.arch} in {folder}")],
        )
    return folder
