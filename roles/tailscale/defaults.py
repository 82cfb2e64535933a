"""Every knob of role `tailscale`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from roles.common.openpgp import fingerprint
from roles.tailscale.secret import source_faults
from shoal.cluster.document import Node
from shoal.errors import Fault

VENDOR_KEY = Path(__file__).parent / "files" / "vendor.asc"
_TAG = re.compile(r"tag:[A-Za-z][A-Za-z0-9-]{0,49}")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+){1,3}")


@dataclass(frozen=True)
class Tailscale:
    """Set as host or group data under the same names."""

    tailscale_source: Literal["package", "binaries"] = "package"
    """The vendor's package from its own apt repository, or given binaries with a unit of ours."""
    tailscale_version: str = "1.102.5"
    """Version of the package; it is held, so that no upgrade comes by itself. Given binaries are not asked theirs."""
    tailscale_repository: str = "https://pkgs.tailscale.com/stable/{distribution}"
    """The vendor's apt repository, or a mirror; `{distribution}` becomes debian, ubuntu or raspbian."""
    tailscale_key_file: Path = VENDOR_KEY
    """The repository's signing key on the control machine; the vendor's own is shipped."""
    tailscale_key_fingerprint: str = "2596A99EAAB33821893C0A79458CA832957F5868"
    """Fingerprint the key must have; checked before anything is changed."""
    tailscale_binaries: Path | None = None
    """Folder on the control machine with `tailscaled` and, unless it is both in one, `tailscale`. `{arch}` in it
    becomes amd64 or arm64. Needed with source `binaries`."""
    tailscale_login_server: str | None = None
    """Address of a control server of your own, such as headscale. None: the vendor's."""
    tailscale_hostname: str | None = None
    """The machine's name on the tailnet. None: the node's name."""
    tailscale_tags: tuple[str, ...] | None = None
    """Its tags. None: by the node's roles, `tag:shoal-requester` and `tag:shoal-compute`."""
    tailscale_advertise_tags: bool = True
    """Whether the machine asks for its tags. Off where they are on the key already: headscale refuses both at once."""
    tailscale_authkey_file: Path | None = None
    """File on the control machine with the key, readable by its owner alone; `{node}` in it is the node's name. The
    variables SHOAL_TAILSCALE_AUTHKEY_<NODE> and SHOAL_TAILSCALE_AUTHKEY come before it."""
    tailscale_authkey_command: tuple[str, ...] = ()
    """A command whose output is the key, such as `pulumi stack output --show-secrets authkey`; run only where a
    machine needs a key."""
    tailscale_ephemeral: bool | None = None
    """For OAuth client secrets: whether the machine vanishes when it goes. None: for spot nodes."""
    tailscale_preauthorized: bool = True
    """For OAuth client secrets: whether the machine needs no approval."""
    tailscale_userspace: Literal["auto", "on", "off"] = "auto"
    """Without a network device: inbound lands on 127.0.0.1, outbound goes by proxy. `auto`: where there is no
    /dev/net/tun."""
    tailscale_accept_dns: bool = False
    """Whether the tailnet's names replace the machine's resolver."""
    tailscale_ssh: bool = False
    """Whether tailscaled answers SSH itself. shoal uses the machine's own sshd."""
    tailscale_netfilter: Literal["off", "nodivert", "on"] = "off"
    """Whether tailscaled writes packet filter rules itself; they matter for subnet routes only, and the firewall
    role keeps tailnet addresses from other interfaces."""
    tailscale_port: int = 41641
    """UDP port of direct traffic."""
    tailscale_telemetry: bool = False
    """Whether the daemon sends its logs to the vendor."""
    tailscale_environment: dict[str, str] = field(default_factory=dict)
    """Further variables of the daemon. No secrets: the file may be read by everybody."""
    tailscale_join_timeout_s: int = 60
    """How long joining may take; `tailscale up` itself would wait for ever."""
    tailscale_apt_timeout_s: int = 600
    """How long installing it may take before the deploy gives up."""
    tailscale_keep_unknown: bool = False
    """For `remove`: go on where the control server cannot be reached; the device then stays in its list."""

    def tags(self, node: Node) -> frozenset[str]:
        """The node's tags."""
        if self.tailscale_tags is not None:
            return frozenset(self.tailscale_tags)
        return frozenset(f"tag:shoal-{role}" for role in node.roles)

    def hostname(self, node: Node) -> str:
        """The node's name on the tailnet."""
        return self.tailscale_hostname or node.name

    def binaries(self, node: Node) -> Path | None:
        """The folder of given binaries for the node's architecture."""
        if self.tailscale_binaries is None:
            return None
        return Path(str(self.tailscale_binaries).replace("{arch}", node.arch)).expanduser()

    def faults(self) -> list[Fault]:
        """What no single field shows; the vendor's key is read and checked here, before any change."""
        found = [
            Fault("tailscale_tags", f"{tag!r} is not a tag: `tag:` and letters, digits, dashes")
            for tag in self.tailscale_tags or ()
            if not _TAG.fullmatch(tag)
        ]
        if not _VERSION.fullmatch(self.tailscale_version):
            found.append(Fault("tailscale_version", f"is not a version (found {self.tailscale_version!r})"))
        if not 1 <= self.tailscale_port <= 65535:
            found.append(Fault("tailscale_port", f"is not a port (found {self.tailscale_port})"))
        if self.tailscale_login_server and not re.fullmatch(r"https?://[^\s/@]+/?", self.tailscale_login_server):
            found.append(Fault("tailscale_login_server", "is not an address such as https://headscale.example.org"))
        for name in ("tailscale_join_timeout_s", "tailscale_apt_timeout_s"):
            if getattr(self, name) <= 0:
                found.append(Fault(name, "must be above zero"))
        if bad := [key for key in self.tailscale_environment if not re.fullmatch("[A-Z][A-Z0-9_]*", key)]:
            found.append(Fault("tailscale_environment", f"not names of variables: {', '.join(sorted(bad))}"))
        found += source_faults(self.tailscale_authkey_file, self.tailscale_authkey_command)
        return found + (self._package_faults() if self.tailscale_source == "package" else self._binary_faults())

    def _package_faults(self) -> list[Fault]:
        try:
            there = fingerprint(self.tailscale_key_file.expanduser().read_bytes())
        except (OSError, ValueError) as error:
            return [Fault("tailscale_key_file", f"is not a usable key: {error}")]
        wanted = self.tailscale_key_fingerprint.replace(" ", "").upper()
        return [] if there == wanted else [Fault("tailscale_key_file", f"has the fingerprint {there}, wanted {wanted}")]

    def _binary_faults(self) -> list[Fault]:
        folder = self.tailscale_binaries
        if folder is None:
            return [Fault("tailscale_binaries", "is needed with tailscale_source binaries")]
        if "{arch}" not in str(folder) and not (folder.expanduser() / "tailscaled").is_file():
            return [Fault("tailscale_binaries", f"there is no tailscaled in {folder}")]
        return []
