"""OpenSSH as a subprocess: strict host keys, no questions asked, and every way to fail distinguished."""

from __future__ import annotations

import hashlib
import io
import os
import queue
import selectors
import shlex
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, TypeVar

from shoal.cluster.document import Cluster, Node, SshAccess
from shoal.errors import Exit, Fault, ShoalError, UsageError
from shoal.ssh import remote
from shoal.ssh.failures import RemoteError, SshError, SshFailure, TooLongError, error_from, not_begun
from shoal.ssh.remote import Line, Root

__all__ = [
    "Completed",
    "RemoteError",
    "SshError",
    "SshFailure",
    "TooLongError",
    "check_access",
    "close",
    "on_each",
    "piped",
    "run",
    "ssh_command",
    "stream",
]

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10
PROXY_CONNECT_TIMEOUT_S = 60
"""The same where a program makes the connection: its own start counts, and gcloud's takes seconds on a busy machine."""
ALIVE_INTERVAL_S = 10
ALIVE_COUNT = 3
"""A silent connection counts as lost after interval times count; ours reconnect, so this may be short."""
PERSIST_S = 30
"""How long an idle shared connection stays open for the next command."""
ANSWER_BYTES = 16 << 20
"""The most of a command's output that is kept in memory; a node may send without end."""
LINE_BYTES = 64 << 10
"""A longer line of a stream comes in pieces."""
NOISE_BYTES = 64 << 10
"""Of what a login shell prints before the command begins, so many bytes are borne."""
WORDS_BYTES = 64 << 10
"""Of what ssh and the command say on standard error, the last so many bytes are kept."""
SSH_PORT = 22
SOCKET_PATH_LIMIT = 80
"""A Unix socket's path holds 108 bytes, of which ssh wants 17 for a temporary suffix."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command on a node gave back."""

    exit_code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Standard output as text, without the last line break."""
        return self.stdout.decode(errors="replace").rstrip("\n")


def ssh_command(cluster: Cluster, node: Node, *command: str, root: bool = False) -> list[str]:
    """The argument list that runs `command` on `node`; without a command, an interactive shell.

    Every word of `command` arrives on the node as it is: nothing is left to the remote shell. Where a shell is wanted,
    say so: `"sh", "-c", script, "name", argument`. `root` puts `sudo -n` in front where the login user is not root.
    Raises UsageError where a file that the cluster document names for ssh is not there.
    """
    words = ("sudo", "-n", "--", *command) if root and node.user != "root" and command else command
    argv = connection(cluster.ssh, node)
    return [*argv, remote.words(words)] if words else argv


def connection(access: SshAccess, node: Node) -> list[str]:
    """The argument list of ssh up to and with the address. Raises UsageError where a file that is named is missing.

    A port that the document leaves out is the user's ssh configuration to name, as for `ssh HOST`.
    """
    check_access(access)
    options, _ = _options(access, node)
    port = ["-p", str(node.port)] if "port" in node.model_fields_set or node.port != SSH_PORT else []
    return ["ssh", *options, *port, "-l", node.user, "--", node.address]


def run(
    cluster: Cluster,
    node: Node,
    *command: str,
    root: bool = False,
    stdin: bytes | IO[bytes] | None = None,
    timeout_s: float = 60,
    check: bool = True,
    most_bytes: int = ANSWER_BYTES,
) -> Completed:
    """Run `command` on `node` and wait for its end.

    Raises SshError where ssh fails or the time is over, TooLongError where the answer is longer than `most_bytes`,
    RemoteError where the command fails and `check` is set.
    """
    rights = _rights(cluster, node) if root else None
    call = _Call(cluster, node, command, stdin, timeout_s, most_bytes)
    code, out, err, line = _ended(call, rights)
    if rights and code != 0 and remote.TTY_WANTED in err.decode(errors="replace"):
        # Refused before the command was begun: nothing is done twice.
        if stdin is not None and not isinstance(stdin, bytes):
            stdin.seek(0)
        code, out, err, line = _ended(call, replace(rights, tty=True))
    stdout, words = _sorted_out(call, line, code, out, err)
    if check and code != 0:
        raise RemoteError(node, command, code, words)
    return Completed(code, stdout, words)


@dataclass(frozen=True, slots=True)
class _Call:
    """One command on one node."""

    cluster: Cluster
    node: Node
    command: Sequence[str]
    stdin: bytes | IO[bytes] | None = None
    timeout_s: float = 0
    most_bytes: int = ANSWER_BYTES


def _rights(cluster: Cluster, node: Node) -> Root | None:
    return None if node.user == "root" else Root(password=cluster.sudo_password)


def _ended(call: _Call, rights: Root | None) -> tuple[int, bytes, bytes, Line]:
    """Exit status, both streams, and the line that ssh was given. Raises SshError where the time is over."""
    line = _line(call.command, rights)
    argv = [*connection(call.cluster.ssh, call.node), line.text]
    given = line.preamble + (call.stdin if isinstance(call.stdin, bytes) else b"")
    with _source(line.preamble, call.stdin) as source:
        process = _begun(argv, source)
        with process:
            try:
                stdout, said = _exchange(
                    process, given, time.monotonic() + call.timeout_s, call.most_bytes + NOISE_BYTES
                )
            except subprocess.TimeoutExpired:
                process.kill()
                what = f"`{call.command[0]}` was still running after {call.timeout_s:.0f} s"
                raise SshError(call.node, SshFailure.TIMED_OUT, what) from None
            except BaseException:
                with suppress(ProcessLookupError):
                    process.kill()
                raise
    if stdout is None:
        raise TooLongError(call.node, call.command, call.most_bytes)
    return process.returncode, stdout, said, line


def _begun(argv: Sequence[str], source: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """The client at work in its own session, its output not buffered. Raises ShoalError where there is no client."""
    try:
        return subprocess.Popen(
            argv,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment(),
            start_new_session=True,
        )
    except FileNotFoundError:
        raise _no_client() from None


def _line(command: Sequence[str], rights: Root | None) -> Line:
    return remote.line(f"exec {shlex.join(command)}", rights)


def _sorted_out(call: _Call, line: Line, code: int, stdout: bytes, stderr: bytes) -> tuple[bytes, str]:
    """The command's own output. Raises SshError where it was never begun, or the connection was lost."""
    out = remote.after_mark(stdout, line.mark)
    err = remote.after_mark(stderr, line.mark)
    words = (stderr if err is None else err).decode(errors="replace")
    if code == 255 or code < 0:
        raise error_from(call.node, words, call.cluster.ssh)
    if out is None:
        raise not_begun(call.node, code, stdout + stderr)
    if len(out) > call.most_bytes:
        raise TooLongError(call.node, call.command, call.most_bytes)
    return out, words


@contextmanager
def _source(preamble: bytes, stdin: bytes | IO[bytes] | None) -> Iterator[Any]:
    """What the process has as its standard input: a file as it is, or after `preamble`; bytes go through a pipe."""
    if stdin is None or isinstance(stdin, bytes):
        yield subprocess.PIPE if preamble or stdin else subprocess.DEVNULL
        return
    if not preamble:
        yield stdin
        return
    reading, writing = os.pipe()

    def pour() -> None:
        # The command may end before it has read all: then the rest is not wanted.
        with suppress(BrokenPipeError), open(writing, "wb") as pipe:  # noqa: PTH123  # a descriptor
            pipe.write(preamble)
            shutil.copyfileobj(stdin, pipe)

    threading.Thread(target=pour, daemon=True).start()
    try:
        yield reading
    finally:
        os.close(reading)


def _exchange(
    process: subprocess.Popen[bytes], given: bytes | None, deadline: float, most_bytes: int
) -> tuple[bytes | None, bytes]:
    """Hand over `given` and take in what comes: standard output, None where it is too long, and standard error's end.

    As `subprocess.communicate` does it, which knows no bound. Raises TimeoutExpired at the deadline.
    """
    output, said = bytearray(), bytearray()
    left = memoryview(given or b"")
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            selector.register(stream, selectors.EVENT_READ)  # type: ignore[arg-type]  # pipes were asked for
        if process.stdin:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise subprocess.TimeoutExpired(process.args, 0)
            for key, _ in selector.select(left_s):
                if key.fileobj is process.stdin:
                    left = _hand_over(key.fd, left)
                    if not left:
                        selector.unregister(key.fileobj)
                        process.stdin.close()
                elif not (chunk := os.read(key.fd, LINE_BYTES)):
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    output += chunk
                    if len(output) > most_bytes:
                        process.kill()
                        return None, bytes(said)
                else:
                    said = (said + chunk)[-WORDS_BYTES:]
    process.wait(max(deadline - time.monotonic(), 0.1))
    return bytes(output), bytes(said)


def _hand_over(handle: int, left: memoryview) -> memoryview:
    """Write what the pipe takes now; what is left. A command that reads no more gets no more."""
    try:
        return left[os.write(handle, left[:LINE_BYTES]) :] if left else left
    except BlockingIOError:
        return left
    except BrokenPipeError:
        return left[len(left) :]


@contextmanager
def piped(
    cluster: Cluster, node: Node, *command: str, root: bool = False, stdin: IO[bytes] | None = None
) -> Iterator[IO[bytes]]:
    """The output of `command` on `node` as a stream, to be read to its end.

    Leaving the block waits for the command and raises SshError or RemoteError where it failed; leaving it with an
    exception kills the connection. It has a session of its own, so that Ctrl-C at the terminal reaches shoal and not
    the connection that it needs to tidy up.
    """
    call = _Call(cluster, node, command)
    rights = _rights(cluster, node) if root else None
    # Unlike with `run`, what was read of a refusal cannot be taken back: whether sudo wants a terminal is asked first.
    line = _line(command, replace(rights, tty=None) if rights else None)
    argv = [*connection(cluster.ssh, node), line.text]
    said = bytearray()
    with _source(line.preamble, stdin) as source:
        process = _begun(argv, source)
        # Read beside the output: a full pipe would stop the command, and a file would grow as long as the node likes.
        stderr, process.stderr = process.stderr, None  # the listener's alone, also where this is left in a hurry
        listener = threading.Thread(target=_keep_words, args=(stderr, said), daemon=True)
        listener.start()
        with process:
            try:
                if process.stdin:
                    with suppress(BrokenPipeError):
                        process.stdin.write(line.preamble)
                        process.stdin.close()
                noise = _up_to_mark(process.stdout, line.mark)  # type: ignore[arg-type]  # a pipe was asked for
                # Buffered from here on only: who reads the descriptor itself misses nothing.
                with io.BufferedReader(process.stdout) as output:  # type: ignore[type-var]
                    yield output
                code = process.wait()
            except BaseException:
                with suppress(ProcessLookupError):
                    process.kill()
                raise
            listener.join()
    _, words = _sorted_out(call, line, code, noise, bytes(said))
    if code != 0:
        raise RemoteError(node, command, code, words)


def _up_to_mark(stream: IO[bytes], mark: str) -> bytes:
    """What comes first on the stream, with the mark; the last of all there is where the mark never comes.

    The stream has no buffer, so that nothing of what follows is taken from it.
    """
    noise = b""
    end = f"{mark}\n".encode()
    while chunk := stream.readline(LINE_BYTES):
        noise = (noise + chunk)[-WORDS_BYTES:]
        if noise.endswith(end):
            break
    return noise


def _keep_words(stream: IO[bytes], said: bytearray) -> None:
    """Read a stream to its end and close it; `said` holds the last of it."""
    with stream:
        while chunk := stream.read(LINE_BYTES):  # without a buffer: what there is
            said += chunk
            del said[:-WORDS_BYTES]


def stream(cluster: Cluster, node: Node, *command: str, root: bool = False) -> Iterator[str]:
    """Lines of `command`'s output as they come. Raises SshError or RemoteError at the end, as `run` does."""
    with piped(cluster, node, *command, root=root) as output:
        while line := output.readline(LINE_BYTES):
            yield line.decode(errors="replace").rstrip("\r\n")


def on_each(nodes: Sequence[Node], act: Callable[[Node], T], *, at_once: int = 16) -> dict[str, T | ShoalError]:
    """`act` on every node at the same time; per node what it gave or the ShoalError it raised, in the order given.

    The threads do not keep the process alive: where it ends in the midst, from another thread, no thread is waited for.
    """
    left: queue.SimpleQueue[Node] = queue.SimpleQueue()
    answers: dict[str, T | ShoalError] = {}
    raised: dict[str, BaseException] = {}

    def body() -> None:
        while True:
            try:
                node = left.get_nowait()
            except queue.Empty:
                return
            try:
                answers[node.name] = act(node)
            except BaseException as error:  # noqa: BLE001  # answered, or raised below in the thread that asked
                if isinstance(error, ShoalError) and not isinstance(error, UsageError):
                    answers[node.name] = error
                else:
                    raised[node.name] = error

    for node in nodes:
        left.put(node)
    threads = [threading.Thread(target=body, daemon=True) for _ in range(min(at_once, len(nodes)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        # Ctrl-C: what was begun is waited for, unless it is pressed again; nothing more is begun.
        with suppress(queue.Empty):
            while True:
                left.get_nowait()
        for thread in threads:
            thread.join()
        raise
    for node in nodes:
        if node.name in raised:
            raise raised[node.name]
    return {node.name: answers[node.name] for node in nodes}


def close(cluster: Cluster) -> None:
    """End the shared connections to the cluster's nodes now, not some seconds after their last use; leaves no file."""
    for node in cluster.nodes:
        _, socket = _options(cluster.ssh, node)
        if socket.exists():
            subprocess.run(
                ["ssh", "-o", f"ControlPath={_quoted(socket)}", "-O", "exit", "--", node.address],
                capture_output=True,
                check=False,
                timeout=CONNECT_TIMEOUT_S,
            )
            socket.unlink(missing_ok=True)  # of a connection whose process was killed
    with suppress(OSError):
        control_dir().rmdir()  # other clusters' connections may be in it


def check_access(access: SshAccess) -> None:
    """Raise UsageError that lists every file the cluster document names for ssh and that is not there."""
    named = {
        "ssh.identity_file": access.identity_file,
        "ssh.known_hosts_file": access.known_hosts_file,
        "ssh.config_file": access.config_file,
    }
    faults = tuple(
        Fault(field, f"there is no file {path}") for field, path in named.items() if path and not path.is_file()
    )
    if faults:
        unknown = any(fault.where == "ssh.known_hosts_file" for fault in faults)
        raise UsageError(
            "files that the cluster document names for ssh are not there",
            faults=faults,
            hint="`shoal cluster host-keys` shows the machines' keys and makes the file of known hosts"
            if unknown
            else "mend the paths in the cluster document",
        )


def connect_timeout_s(access: SshAccess, node: Node) -> int:
    """Seconds that a connection to the node may take to come about."""
    return PROXY_CONNECT_TIMEOUT_S if node.proxy(access) else CONNECT_TIMEOUT_S


def _options(access: SshAccess, node: Node) -> tuple[list[str], Path]:
    """ssh's options, and the socket of the shared connection that is theirs."""
    wanted = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "ConnectTimeout": str(connect_timeout_s(access, node)),
        "ServerAliveInterval": str(ALIVE_INTERVAL_S),
        "ServerAliveCountMax": str(ALIVE_COUNT),
        "ControlMaster": "auto",
        "ControlPersist": str(PERSIST_S),
    }
    if access.known_hosts_file:
        # The document's file alone counts: a key that the machine at large trusts is not one that the cluster has.
        wanted["UserKnownHostsFile"] = _quoted(access.known_hosts_file)
        wanted["GlobalKnownHostsFile"] = "none"
    if access.identity_file:
        wanted["IdentityFile"] = _quoted(access.identity_file)
        wanted["IdentitiesOnly"] = "yes"
    if proxy := node.proxy(access):
        wanted["ProxyCommand"] = proxy
    argv = ["-F", str(access.config_file)] if access.config_file else []
    for option, value in wanted.items():
        argv += ["-o", f"{option}={value}"]
    # Everything that decides whom we trust is in the name: a connection made under other rules is never shared.
    identity = f"{argv} {node.user}@{node.address}:{node.port}"
    socket = control_dir() / hashlib.sha256(identity.encode()).hexdigest()[:20]
    return [*argv, "-o", f"ControlPath={_quoted(socket)}"], socket


def _quoted(path: Path) -> str:
    """A path as one word of ssh_config: spaces kept, and no percent sign read as a token."""
    text = str(path.absolute()).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def control_dir() -> Path:
    """The private folder of the shared connections' sockets, made where it is missing. Raises ShoalError."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    directory = Path(runtime) / "shoal-ssh"
    if not runtime or not Path(runtime).is_dir() or len(str(directory)) + 21 > SOCKET_PATH_LIMIT:
        directory = Path("/tmp") / f"shoal-{os.getuid()}"  # noqa: S108  # short, and checked for its owner below
    directory.mkdir(mode=0o700, exist_ok=True)
    facts = directory.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise ShoalError(
            f"{directory} is not a private directory of yours; ssh connections would be shared through it",
            hint="remove it, or set XDG_RUNTIME_DIR to a directory of your own",
        )
    return directory


def environment() -> dict[str, str]:
    """What ssh runs with."""
    return {**os.environ, "LC_ALL": "C"}  # ssh's words are read to tell the failures apart


def _no_client() -> ShoalError:
    return ShoalError(
        "the OpenSSH client is needed, and there is no `ssh` on this machine",
        hint="install it (Debian and Ubuntu: apt-get install openssh-client)",
        exit_code=Exit.MISSING,
    )
