"""A machine's answer as typed facts. Nothing raises here: what cannot be read is None, and the rules say so."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shoal import untrusted
from shoal.check.answer import Answer, line


@dataclass(frozen=True, slots=True)
class Login:
    """The login user and how far it gets."""

    user: str
    uid: int | None
    shell: str
    umask: str
    proxy: dict[str, str]
    noise: str
    sudo: str
    """What sudo said where the look did not become root."""
    sudo_allows: str
    """The lines of `sudo -l` that need no password."""
    is_root: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that will be written, as far as it is there."""

    folder: str
    there: str
    """The nearest folder above it that exists."""
    device: str
    free_bytes: int | None
    free_inodes: int | None
    file_system: str
    writable: bool


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP socket that waits for connections."""

    address: str
    port: int
    process: str
    unit: str


@dataclass(frozen=True, slots=True)
class Container:
    """One container of the engine that is there."""

    name: str
    running: bool
    restart: str
    image: str
    labels: dict[str, str]

    @property
    def comes_back(self) -> bool:
        """Whether a restart of the engine starts it again."""
        return self.restart in {"always", "unless-stopped"}


@dataclass(frozen=True, slots=True)
class Docker:
    """The engine that is there, and what it is used for."""

    client: str = ""
    """Path of the `docker` program; empty where there is none."""
    package: str = ""
    version_words: str = ""
    rootless: tuple[str, ...] = ()
    """Sockets of users' own engines."""
    engines: tuple[str, ...] = ()
    """Names of processes that are engines or orchestrators."""
    users_engines: tuple[str, ...] = ()
    """Users other than root that run a dockerd."""
    info: dict[str, Any] | None = None
    """`docker info`; None where the engine did not answer."""
    words: str = ""
    """What `docker info` said instead."""
    daemon_json: str = ""
    units: dict[str, dict[str, str]] = field(default_factory=dict)
    containers: tuple[Container, ...] = ()
    volumes: tuple[str, ...] = ()
    old_data: dict[str, int] = field(default_factory=dict)
    """Entries in the engine's data folders, by folder."""
    old_volumes: int = 0

    @property
    def answers(self) -> bool:
        """Whether an engine answers root."""
        return self.info is not None


@dataclass(frozen=True, slots=True)
class Videos:
    """The videos folder."""

    kind: str = "none"
    """`none`, `folder`, `other` (a file, a device), `silent` (what it is on does not answer) or `broken`."""
    words: str = ""
    """Why a broken one cannot be read."""
    link: str = ""
    mount: str = ""
    """Where the file system that it is on is mounted."""
    file_system: str = ""
    options: frozenset[str] = frozenset()
    owner: str = ""
    mode: str = ""
    files: int | None = None
    """Counted up to 20000."""
    size_bytes: int | None = None
    clips: dict[str, int] = field(default_factory=dict)
    """Of the clips that are to be placed: size in bytes of what is there under the same name."""
    cameras: dict[str, str] = field(default_factory=dict)
    """By camera folder of the document: `there`, `missing`, or `silent` (what it is on does not answer)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of one machine."""

    login: Login
    clock_offset_s: float | None = None
    """The machine's clock minus this one's."""
    clock_doubt_s: float = 0.0
    """How much of the offset the way there and back may be."""
    release: dict[str, str] = field(default_factory=dict)
    machine: str = ""
    dpkg_arch: str = ""
    init: str = ""
    systemd: str | None = None
    """State of systemd; None where it is not the machine's init."""
    container: bool = False
    root_umask: str = ""
    machine_id: str = ""
    hostname: str = ""
    macs: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What the names that nodes call each other by mean here."""
    places: tuple[Place, ...] = ()
    kernel: dict[str, str] = field(default_factory=dict)
    kernel_modules: bool = False
    """Whether the modules of the running kernel are on the disk."""
    kernel_modular: bool = False
    """Whether the running kernel has loaded any."""
    namespaces_missing: tuple[str, ...] = ()
    memory_cgroup: bool | None = None
    cgroup_cmdline: tuple[str, ...] = ()
    boot_file: str = ""
    listeners: tuple[Listener, ...] = ()
    firewalls: dict[str, str] = field(default_factory=dict)
    """The words of ufw, firewalld, nft and iptables, where they are there."""
    bridges: dict[str, tuple[str, ...]] = field(default_factory=dict)
    time_units: dict[str, str] = field(default_factory=dict)
    synchronised: bool | None = None
    packages: dict[str, str] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    audit: str = ""
    removals: tuple[str, ...] = ()
    """Packages that apt would remove for those that a deploy installs."""
    upgrades: tuple[str, ...] = ()
    """Packages that are there and that apt would bring to another version for them."""
    journal_bytes: int | None = None
    manager_proxy: dict[str, str] = field(default_factory=dict)
    docker: Docker = field(default_factory=Docker)
    videos: Videos = field(default_factory=Videos)
    our_packages: dict[str, frozenset[str]] = field(default_factory=dict)
    """By role: the packages that an earlier deploy of shoal brought."""
    our_files: frozenset[str] = frozenset()
    our_units: frozenset[str] = frozenset()


def read(answer: Answer, *, asked_at_s: float = 0.0, answered_at_s: float = 0.0) -> Facts:
    """The facts in an answer; the two moments are this machine's clock when it was begun and when it was there."""
    root = answer.root.texts if answer.root else {}
    started = _float(answer.login.texts.get("started"))
    middle, doubt = (asked_at_s + answered_at_s) / 2, (answered_at_s - asked_at_s) / 2
    kernel = _rows(root.get("kernel", ""))
    init = _rows(root.get("init", ""))
    mine = [words.split(" ", 1) for words in _lines(root.get("ours", ""))]
    return Facts(
        login=_login(answer),
        clock_offset_s=None if started is None else started - middle,
        clock_doubt_s=doubt,
        release=_release(root.get("os_release", "")),
        machine=line(root.get("machine", "")),
        dpkg_arch=line(root.get("dpkg_arch", "")),
        init=line(init.get("process", "")),
        systemd=line(init["systemd"]) if "systemd" in init else None,
        container=init.get("container", "none") not in {"", "none"},
        root_umask=line(root.get("umask", "")),
        machine_id=line(root.get("machine_id", "")),
        hostname=line(root.get("hostname", "")),
        macs=frozenset(re.findall(r"link/ether ([0-9a-f:]{17})", root.get("addresses", ""))),
        addresses=frozenset(re.findall(r" inet6? ([0-9a-fA-F.:]+)/", root.get("addresses", ""))),
        names=_names(root.get("names", "")),
        places=tuple(_places(root.get("space", ""))),
        kernel={key: value for key, value in kernel.items() if key not in {"modules", "modular", "namespace"}},
        kernel_modules="modules" in kernel,
        kernel_modular="modular" in kernel,
        namespaces_missing=tuple(re.findall(r"^namespace (\w+) missing$", root.get("kernel", ""), re.MULTILINE)),
        memory_cgroup=_memory_cgroup(root.get("cgroups", "")),
        cgroup_cmdline=tuple(re.findall(r"^cmdline (\S+)$", root.get("cgroups", ""), re.MULTILINE)),
        boot_file=next(iter(re.findall(r"^file (\S+)$", root.get("cgroups", ""), re.MULTILINE)), ""),
        listeners=tuple(_listeners(root.get("listeners", ""))),
        firewalls={name: root[name] for name in ("ufw", "firewalld", "nft", "iptables") if root.get(name, "").strip()},
        bridges={words[0]: tuple(words[1:]) for row in _lines(root.get("bridges", "")) if (words := row.split())},
        time_units={key: value["ActiveState"] for key, value in _units(root.get("time_units", "")).items()},
        synchronised={"yes": True, "no": False}.get(root.get("time_synchronised", "").strip()),
        packages={
            words[0]: words[1]
            for row in _lines(root.get("packages", ""))
            if len(words := row.split()) >= 3 and words[2].startswith(("ii", "hi"))
        },
        held=frozenset(_lines(root.get("held", ""))),
        audit=line(root.get("audit", ""), 300),
        removals=tuple(re.findall(r"^Remv (\S+)", root.get("simulation", ""), re.MULTILINE)),
        upgrades=tuple(re.findall(r"^Inst (\S+) \[", root.get("simulation", ""), re.MULTILINE)),
        journal_bytes=_journal(root.get("journal", "")),
        manager_proxy=_assignments(root.get("manager_proxy", "")),
        docker=_docker(root),
        videos=_videos(root.get("videos", "")),
        our_packages=_grouped(pair for pair in mine if len(pair) == 2 and pair[0].endswith(".packages")),
        our_files=frozenset(pair[1] for pair in mine if len(pair) == 2 and pair[0] == "file"),
        our_units=frozenset(pair[1].rpartition("/")[2] for pair in mine if len(pair) == 2 and pair[0] == "unit"),
    )


def _login(answer: Answer) -> Login:
    login = answer.login.texts
    uid = _int(login.get("uid", "").strip())
    return Login(
        user=line(login.get("user", "")),
        uid=uid,
        shell=line(login.get("passwd", "").rpartition(":")[2]),
        umask=line(login.get("umask", "")),
        proxy=_assignments(login.get("proxy", "")),
        noise=answer.login.noise,
        sudo=line(answer.sudo, 400),
        sudo_allows=line(login.get("sudo_allows", ""), 300),
        is_root=answer.root is not None,
    )


def _lines(text: str) -> list[str]:
    return [row for raw in text.split("\n") if (row := raw.strip())]


def _rows(text: str) -> dict[str, str]:
    """Lines `key value`."""
    return {key: value.strip() for key, _, value in (row.partition(" ") for row in _lines(text))}


def _assignments(text: str) -> dict[str, str]:
    """Lines `key=value`, keys in lower case."""
    return {
        key.lower(): line(value, 500) for key, equals, value in (row.partition("=") for row in _lines(text)) if equals
    }


def _release(text: str) -> dict[str, str]:
    return {
        key: line(value.strip("\"'")) for key, equals, value in (row.partition("=") for row in _lines(text)) if equals
    }


def _int(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else None


def _float(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", text.strip()) else None


def _names(text: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for row in _lines(text):
        words = row.split()
        if len(words) >= 2 and words[1] not in found.setdefault(words[0], []):
            found[words[0]].append(words[1])
    return {name: tuple(addresses) for name, addresses in found.items()}


def _places(text: str) -> Iterator[Place]:
    for row in _lines(text):
        words = row.split(" ", 6)
        if len(words) != 7:
            continue
        device, blocks, block_size, inodes, kind, writable, rest = words
        folder, _, there = rest.partition(" ")
        free, size = _int(blocks), _int(block_size)
        yield Place(
            folder=folder,
            there=there,
            device=device,
            free_bytes=None if free is None or size is None else free * size,
            free_inodes=_int(inodes),
            file_system=kind,
            writable=writable == "yes",
        )


def _memory_cgroup(text: str) -> bool | None:
    """Whether the kernel can limit memory; None where it does not say."""
    found = None
    for row in _lines(text):
        kind, _, rest = row.partition(" ")
        words = rest.split()
        if kind == "v2":
            found = bool(found) or "memory" in words
        elif kind == "v1" and len(words) == 4 and words[0] == "memory":
            # On a machine with the unified hierarchy alone this row is there too, and right.
            found = bool(found) or words[3] == "1"
        elif kind == "v1" and found is None and words[:1] == ["cpu"]:
            found = False
    return found


_SS = re.compile(r"^(?:LISTEN\s+)?\d+\s+\d+\s+(?P<address>\S+):(?P<port>\d+)\s+\S+(?:\s+users:\(\((?P<users>.*)\)\))?")
_USER = re.compile(r'"([^"]*)",pid=(\d+)')


def _listeners(text: str) -> Iterator[Listener]:
    units = {words[1]: words[2] for row in _lines(text) if len(words := row.split()) == 3 and words[0] == "unit"}
    for row in _lines(text):
        if row.startswith(("proc4 ", "proc6 ")):
            yield from _proc_listener(row)
        elif match := _SS.match(row):
            users = _USER.findall(match["users"] or "")
            name, pid = users[0] if users else ("", "")
            address = match["address"].strip("[]").partition("%")[0]
            yield Listener(_plain(address), int(match["port"][:6]), line(name, 40), units.get(pid, ""))


def _proc_listener(row: str) -> Iterator[Listener]:
    """A line of /proc/net/tcp or tcp6: state 0A is LISTEN; addresses are hex words in the machine's byte order."""
    words = row.split()
    if len(words) < 5 or words[4] != "0A" or ":" not in words[2]:
        return
    raw, _, port = words[2].partition(":")
    if not re.fullmatch(r"[0-9A-F]{8}([0-9A-F]{24})?", raw) or not re.fullmatch(r"[0-9A-F]{4}", port):
        return
    packed = b"".join(bytes.fromhex(raw[at : at + 8])[::-1] for at in range(0, len(raw), 8))
    yield Listener(_plain(str(ipaddress.ip_address(packed))), int(port, 16), "", "")


def _plain(address: str) -> str:
    return "*" if address in {"0.0.0.0", "::", "*"} else address.removeprefix("::ffff:")  # noqa: S104


def _units(text: str) -> dict[str, dict[str, str]]:
    """`systemctl show` of several units, those that are loaded."""
    found: dict[str, dict[str, str]] = {}
    for block in re.split(r"\n\s*\n", text):
        values = {key: value for key, equals, value in (row.partition("=") for row in _lines(block)) if equals}
        if values.get("LoadState", "loaded") == "loaded" and values.get("Id") and values.get("ActiveState"):
            found[values["Id"]] = values
    return found


def _journal(text: str) -> int | None:
    match = re.search(r"take up (\d+(?:\.\d+)?)([BKMGT])", text)
    if not match:
        return None
    return int(float(match[1]) * 1024 ** "BKMGT".index(match[2]))


def _grouped(pairs: Iterator[list[str]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for file, package in pairs:
        found.setdefault(file.removesuffix(".packages"), set()).add(package.strip())
    return {role: frozenset(packages) for role, packages in found.items()}


def _docker(root: Mapping[str, str]) -> Docker:
    text = root.get("docker", "")
    rows = _rows(text)
    processes = [row.split() for row in _lines(root.get("engines", ""))]
    processes = [words for words in processes if len(words) == 4]
    info, words = _info(root.get("docker_info", ""))
    data = [row.split() for row in _lines(text) if row.startswith("data ")]
    return Docker(
        client=line(rows.get("client", "")),
        package=line(rows.get("package", "").partition(":")[0]),
        version_words=line(rows.get("version", "")),
        rootless=tuple(row.removeprefix("rootless ") for row in _lines(text) if row.startswith("rootless ")),
        engines=tuple(dict.fromkeys(words[2] for words in processes)),
        users_engines=tuple(
            dict.fromkeys(line(w[1], 40) for w in processes if w[2] in {"dockerd", "rootlesskit"} and w[1] != "root")
        ),
        info=info,
        words=words,
        daemon_json=root.get("daemon_json", ""),
        units=_units(root.get("docker_units", "")),
        containers=tuple(_containers(root.get("containers", ""))),
        volumes=tuple(_lines(root.get("volumes", ""))) if info is not None else (),
        old_data={words[1]: count for words in data if len(words) == 3 and (count := _int(words[2])) is not None},
        old_volumes=_int(rows.get("volumes", "")) or 0,
    )


def _info(text: str) -> tuple[dict[str, Any] | None, str]:
    """`docker info`, or what its program said instead, in whichever of the two ways."""
    objects = [value for row in _lines(text) if (value := _json_object(row)) is not None]
    info = objects[0] if objects else {}
    if info.get("ServerVersion"):
        return info, ""
    errors = info.get("ServerErrors")
    said = [*map(str, errors)] if isinstance(errors, list) else []
    said += [row for row in _lines(text) if not row.startswith("{")]
    return None, line(" ".join(dict.fromkeys(said)), 300)


_CONTAINER = re.compile(
    r'^(?P<name>"(?:[^"\\]|\\.)*") (?P<running>true|false) (?P<restart>\S*) '
    r'(?P<image>"(?:[^"\\]|\\.)*") (?P<labels>.*)$'
)


def _containers(text: str) -> Iterator[Container]:
    for row in _lines(text):
        if match := _CONTAINER.match(row):
            labels = _json_object(match["labels"]) or {}
            name, image = _json_text(match["name"]), _json_text(match["image"])
            yield Container(
                line(name.lstrip("/")),
                match["running"] == "true",
                match["restart"],
                line(image),
                {line(key): line(str(value)) for key, value in labels.items()},
            )


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = untrusted.json_value(text, source="")
    except untrusted.DamagedDocumentError:
        return None
    return value if isinstance(value, dict) else None


def _json_text(text: str) -> str:
    try:
        return str(untrusted.json_value(text, source=""))
    except untrusted.DamagedDocumentError:
        return text


def _videos(text: str) -> Videos:
    rows = _rows(text)
    mounts = [words for row in _lines(text) if row.startswith("mount ") and len(words := row.split(" ")) >= 6]
    # The innermost mount counts, and of several at one place the last.
    mount = max(enumerate(mounts), key=lambda entry: (len(entry[1][1]), entry[0]))[1] if mounts else None
    state = rows.get("state", "").split()
    files = rows.get("files", "").split()
    clips = {}
    for row in text.split("\n"):
        words = row.split(" ", 3)
        if words[0] == "clip" and len(words) == 4 and (size := _int(words[1])) is not None:
            clips[words[3]] = size
    cameras = {
        words[2]: words[1] for row in _lines(text) if len(words := row.split(" ", 2)) == 3 and words[0] == "camera"
    }
    return Videos(
        kind=rows.get("kind", "none"),
        words=line(rows.get("words", "")),
        link=line(rows.get("link", "")),
        mount=mount[1] if mount else "",
        file_system=mount[3] if mount else "",
        options=frozenset([*mount[2].split(","), *mount[5].split(",")]) if mount else frozenset(),
        owner=":".join(state[:2]) if len(state) == 3 else "",
        mode=state[2] if len(state) == 3 else "",
        files=_int(files[0]) if len(files) == 2 else None,
        size_bytes=_int(files[1]) if len(files) == 2 else None,
        clips=clips,
        cameras=cameras,
    )
