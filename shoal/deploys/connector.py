"""pyinfra's way to a machine over OpenSSH: whatever plain `ssh HOST` reaches, a deploy reaches.

Registered as `@openssh` (pyproject.toml). Commands share one connection per machine (ControlMaster), which they share
with the rest of shoal. See `shoal.ssh.remote` for what makes a command independent of the login shell.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import TextIOBase
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError
from pyinfra import logger
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.output import echo, format_text
from pyinfra.api.util import get_file_io
from pyinfra.connectors.base import BaseConnector, DataMeta
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command_for_host
from typing_extensions import TypedDict, override

from shoal.cluster.document import Node, SshAccess, field_faults
from shoal.deploys import handover
from shoal.deploys.shell import Shell, SudoRefusedError
from shoal.errors import ShoalError
from shoal.ssh import remote
from shoal.ssh.failures import one_line
from shoal.ssh.remote import Root

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State


class OpenSshData(TypedDict):
    """Host data that the connector reads; names as in pyinfra's own SSH connector."""

    ssh_hostname: str
    ssh_port: int
    ssh_user: str
    ssh_key: str
    ssh_config_file: str
    ssh_known_hosts_file: str
    ssh_proxy_command: str


class OpenSshConnector(BaseConnector):
    """Runs commands and moves files with the OpenSSH client."""

    handles_execution = True
    data_cls = OpenSshData
    data_meta = {  # noqa: RUF012  # pyinfra's own form
        "ssh_hostname": DataMeta("Address, or a host of the ssh configuration; the host's name where left out"),
        "ssh_port": DataMeta("Port, where it is not the ssh configuration's to say"),
        "ssh_user": DataMeta("Login user", "root"),
        "ssh_key": DataMeta("Private key file"),
        "ssh_config_file": DataMeta("ssh_config used in place of the user's own"),
        "ssh_known_hosts_file": DataMeta("File with the host keys, which are checked strictly"),
        "ssh_proxy_command": DataMeta("ProxyCommand as in ssh_config"),
    }
    data: OpenSshData

    _node: Node
    _access: SshAccess
    _root: Root | None = None
    """How root is had on this machine; None where the login is root's, or no host data ask for it."""

    def __init__(self, state: State, host: Host) -> None:
        super().__init__(state, host)
        self._idle: dict[Root | None, list[Shell]] = {}

    @override
    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """The host under its plain name, as it is in results and limits."""
        yield name, {}, []

    @override
    def connect(self) -> None:
        """Log in and see how root is had. Raises ConnectError in the words of `shoal.ssh.failures`."""
        if why := self.host.data.get("shoal_unreached"):
            raise ConnectError(why)  # it has no deploy lock
        try:
            self._node, self._access = self._target()
            self._root = self._way_to_root()
        except ShoalError as error:
            raise ConnectError(one_line(error)) from None
        except TimeoutError as error:
            raise ConnectError(f"the login took too long: {error}") from None

    @override
    def disconnect(self) -> None:
        """Close the shells; the connection itself is closed when it has been idle."""
        for shells in self._idle.values():
            while shells:
                shells.pop().close()

    def _target(self) -> tuple[Node, SshAccess]:
        data = self.data
        address = {"address": data["ssh_hostname"] or self.host.name}
        port = {"port": int(data["ssh_port"])} if data["ssh_port"] else {}
        files = {
            "identity_file": data["ssh_key"],
            "known_hosts_file": data["ssh_known_hosts_file"],
            "config_file": data["ssh_config_file"],
        }
        access = {key: Path(value).expanduser() for key, value in files.items() if value}
        try:
            node = Node.model_validate(
                {"name": self.host.name, "roles": ("compute",), "user": data["ssh_user"], **address, **port}
            )
            return node, SshAccess.model_validate({**access, "proxy_command": data["ssh_proxy_command"]})
        except ValidationError as error:
            raise ShoalError("the host's data do not name a machine", faults=tuple(field_faults(error))) from None

    def _way_to_root(self) -> Root | None:
        """Log in, and find out what sudo wants; changes nothing."""
        if not self.host.data.get("_sudo"):
            with self._shell(None):
                return None
        root = Root()
        refusal = self._refusal(root)
        if refusal and remote.TTY_WANTED in refusal:
            root = replace(root, tty=True)
            refusal = self._refusal(root)
        if refusal and any(words in refusal for words in remote.PASSWORD_WANTED):
            root = replace(root, password=self._password())
            refusal = self._refusal(root)
            if refusal and any(words in refusal for words in remote.PASSWORD_WRONG):
                raise ShoalError(f"the sudo password is not the one of user {self._node.user} on this machine")
        if refusal:
            raise ShoalError(
                f"user {self._node.user} cannot become root: {refusal}",
                hint="let it run every command with sudo, or log in as root",
            )
        return root

    def _refusal(self, root: Root) -> str | None:
        """sudo's own words where root is not had this way."""
        try:
            with self._shell(root):
                return None
        except SudoRefusedError as error:
            return error.message

    def _password(self) -> SecretStr:
        password = handover.sudo_password()
        if password is None:
            raise ShoalError(
                f"user {self._node.user} may run sudo with a password only, or for some commands only",
                hint="`--ask-sudo-password` (of `shoal site deploy` and others) asks you for it; or let sudo run every "
                "command without (`NOPASSWD: ALL` in sudoers), or log in as root",
            )
        return password

    @contextmanager
    def _shell(self, root: Root | None) -> Iterator[Shell]:
        """An open shell of this kind that no other caller uses meanwhile: an idle one, else one more.

        pyinfra may ask one machine several things at once: a check of all machines runs in the first one's greenlet.
        """
        idle = self._idle.setdefault(root, [])
        shell = None
        while idle and shell is None:
            candidate = idle.pop()
            shell = candidate if candidate.alive else None
        shell = shell or Shell(self._node, self._access, root)
        yield shell  # one that ended with an error is closed
        if shell.alive:
            idle.append(shell)
        else:
            shell.close()

    @override
    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """Run a command. Raises OSError where the connection is lost, TimeoutError after `_timeout` seconds."""
        del print_input  # pyinfra's own words for a command are what it logs
        arguments.pop("_get_pty", None)  # the shell is there already; sudo gets a terminal where it wants one
        timeout_s = arguments.pop("_timeout", None)
        stdin = arguments.pop("_stdin", None)
        success = arguments.pop("_success_exit_codes", None) or [0]
        feed = _bytes(stdin) if stdin else None
        code, output = self._run(
            command,
            arguments,
            feed=feed,
            timeout_s=timeout_s,
            on_line=self._printed if print_output else None,
        )
        return code in success, output

    def _run(
        self, command: StringCommand | str, arguments: dict[str, Any], **options: Any
    ) -> tuple[int, CommandOutput]:
        script, root = self._script(command, arguments)
        try:
            with self._shell(root) as shell:
                return shell.run(script, **options)
        except ShoalError as error:
            raise OSError(one_line(error)) from None

    def _script(self, command: StringCommand | str, arguments: dict[str, Any]) -> tuple[str, Root | None]:
        """The command as text for sh, and how it becomes root's. pyinfra's own sudo is left out of it.

        That one puts a password where every user of the machine can read it, in the list of processes.
        """
        sudo = bool(arguments.pop("_sudo", False))
        user = arguments.pop("_sudo_user", None)
        own = arguments.pop("_sudo_password", None)
        login = bool(arguments.pop("_use_sudo_login", False))
        keep = bool(arguments.pop("_preserve_sudo_env", False))
        typed = command if isinstance(command, StringCommand) else StringCommand(command)
        script = make_unix_command_for_host(self.state, self.host, typed, **arguments).get_raw_value()
        if not sudo:
            return script, None
        way = self._root or Root()
        password = SecretStr(own) if isinstance(own, str) and own else way.password
        return script, Root(password=password, tty=way.tty, user=user, login=login, keep_environment=keep)

    def _printed(self, line: OutputLine) -> None:
        text = format_text(line.line, "red") if line.buffer_name == "stderr" else line.line
        echo(f"{self.host.print_prefix}{text}", err=True)

    @override
    def put_file(
        self,
        filename_or_io: Any,
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Upload a file, straight into its place as the user that it is for. Raises OSError."""
        del remote_temp_filename, print_input
        with get_file_io(filename_or_io) as opened:
            source, size_bytes = _as_binary(opened)
            place = StringCommand(QuoteString(remote_filename))
            # A connection that is cut in the midst looks like the file's end over there.
            check = StringCommand("[", '"$(wc', "-c", "<", place, ')"', "-eq", str(size_bytes), "]")
            command = StringCommand("cat", ">", place, "&&", check)
            timeout_s = _without_streams(arguments)
            code, output = self._run(command, arguments, feed=source, timeout_s=timeout_s)
        if code != 0:
            logger.error(f"{self.host.print_prefix}{format_text(f'Upload failed: {output.stderr}', 'red')}")
            return False
        if print_output:
            echo(f"{self.host.print_prefix}file uploaded: {remote_filename}", err=True)
        return True

    @override
    def get_file(
        self,
        remote_filename: str,
        filename_or_io: Any,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Download a file. Raises OSError."""
        del remote_temp_filename, print_input
        timeout_s = _without_streams(arguments)
        command = StringCommand("cat", QuoteString(remote_filename))
        with get_file_io(filename_or_io, "wb") as sink:
            code, output = self._run(command, arguments, timeout_s=timeout_s, sink=sink)
        if code != 0:
            logger.error(f"{self.host.print_prefix}{format_text(f'Download failed: {output.stderr}', 'red')}")
            return False
        if print_output:
            echo(f"{self.host.print_prefix}file downloaded: {remote_filename}", err=True)
        return True


def _without_streams(arguments: dict[str, Any]) -> float | None:
    """Take out of a file transfer's arguments what is about commands' streams; gives the time limit in seconds."""
    for name in ("_get_pty", "_success_exit_codes", "_stdin"):
        arguments.pop(name, None)
    timeout_s: float | None = arguments.pop("_timeout", None)
    return timeout_s


def _bytes(stdin: Any) -> bytes:
    """What `_stdin` holds: a text, lines, or something with lines; each line is ended."""
    held = stdin.readlines() if hasattr(stdin, "readlines") else stdin
    entries: Sequence[Any] = held if isinstance(held, list | tuple) else [held]
    texts = [entry.decode() if isinstance(entry, bytes) else str(entry) for entry in entries]
    return "".join(text if text.endswith("\n") else f"{text}\n" for text in texts).encode()


def _as_binary(opened: Any) -> tuple[bytes | IO[bytes], int]:
    """A file's content to send, and its size; text is sent as UTF-8."""
    if isinstance(opened, TextIOBase):
        content = opened.read().encode()
        return content, len(content)
    start = opened.tell()
    end = opened.seek(0, os.SEEK_END)
    opened.seek(start)
    return opened, end - start
