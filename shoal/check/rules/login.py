"""How far the login user gets: its shell, what it prints, sudo, umask."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.check.answer import line
from shoal.check.facts import Facts
from shoal.check.finding import Finding, note, refusal, warning
from shoal.check.plan import NodePlan

CLOSED_SHELLS = frozenset({"nologin", "false", "true", "rbash", "git-shell", "rssh"})
SUDOERS = "{user} ALL=(ALL) NOPASSWD: ALL"


def shell(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """A shell that is no Bourne shell, or prints before a command runs."""
    login = facts.login
    program = login.shell.rpartition("/")[2]
    if program in CLOSED_SHELLS:
        yield refusal(
            plan.node.name,
            "login shell",
            f"the login shell of {login.user} is {login.shell}, which does not run commands as they are",
            f"give it another (usermod -s /bin/bash {login.user}), or name another user in the cluster document",
        )
    elif program not in {"bash", "sh", "dash", "zsh", "ksh", ""}:
        yield note(plan.node.name, "login shell", f"the login shell of {login.user} is {login.shell}")
    if login.noise:
        yield warning(
            plan.node.name,
            "login shell",
            f"its shell prints before a command runs: {login.noise}",
            f"put what prints in ~{login.user}/.bashrc (or what it reads) behind `case $- in *i*) ...`: files that are "
            "fetched over SSH would begin with it",
        )


def sudo(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """Why the look did not become root, in words that say what to do."""
    login, name = facts.login, plan.node.name
    if login.is_root:
        return
    entry = SUDOERS.format(user=login.user)
    grant = f"let it run everything: echo '{entry}' > /etc/sudoers.d/shoal there, or log in as root"
    words = login.sudo.lower()
    if "not found" in words and "sudo:" in words:
        yield refusal(
            name, "sudo", f"{login.user} is not root, and there is no sudo", "install sudo, or log in as root"
        )
    elif "must have a tty" in words or ("terminal is required" in words and "password" not in words):
        yield refusal(
            name,
            "sudo",
            "its sudo wants a terminal (requiretty)",
            f"add `Defaults:{login.user} !requiretty` to /etc/sudoers.d/shoal there",
        )
    elif login.sudo_allows and "nopasswd: all" not in login.sudo_allows.lower():
        yield refusal(name, "sudo", f"sudo lets {login.user} run some commands only", grant)
    elif "incorrect password" in words or "sorry, try again" in words:
        yield refusal(name, "sudo", f"sudo does not take the password that was given for {login.user}", "type it again")
    elif "password is required" in words or "a terminal is required to read the password" in words:
        yield refusal(
            name,
            "sudo",
            f"sudo asks {login.user} for a password",
            grant,
        )
    elif "not in the sudoers" in words or "not allowed" in words or "may not run sudo" in words:
        yield refusal(name, "sudo", f"{login.user} may not use sudo for this", grant)
    else:
        said = line(login.sudo, 160)
        yield refusal(name, "sudo", f"{login.user} does not become root by sudo: {said or 'it said nothing'}", grant)


def umask(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """A hardened umask, which the deploy does not depend on; named, since files of the owner's own tools may."""
    found = {"login": facts.login.umask, "root": facts.root_umask}
    odd = [
        f"{value} ({who})" for who, value in found.items() if value and value.lstrip("0") not in {"22", "2", "7", "27"}
    ]
    if odd:
        yield note(plan.node.name, "umask", f"logins have the umask {' and '.join(odd)}")
