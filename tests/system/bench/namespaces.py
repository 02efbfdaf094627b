"""Network namespaces for workers: real packets that are really dropped. For root on Linux only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

HUB = "10.77.0.1"  # where everybody finds the coordinators


def _run(*command: str, check: bool = True) -> bool:
    return subprocess.run(command, check=check, capture_output=True).returncode == 0


@cache
def missing() -> str | None:
    """Why there can be none here."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "iptables"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    name = f"cbtry{os.getpid()}"
    if not _run("ip", "netns", "add", name, check=False):
        return "this machine allows no network namespaces"
    try:
        probe = Namespace(name, HUB)
        if not probe.rule("-A", "OUTPUT", "-d", HUB, "-j", "DROP", check=False):
            return "iptables does not work here"
        return None
    finally:
        _run("ip", "netns", "del", name)


class Namespace:
    """One of them, with a cable to this one."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self._rules: list[tuple[str, ...]] = []

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]

    def rule(self, *rule: str, check: bool = True) -> bool:
        return _run(*self.prefix, "iptables", *rule, check=check)

    def cut(self, *, up: bool = True, down: bool = True, how: Sequence[str] = ("-j", "DROP")) -> None:
        """Packets to and from the hub meet this target."""
        if up:
            self.rule("-A", "OUTPUT", "-p", "tcp", "-d", HUB, *how)
        if down:
            self.rule("-A", "INPUT", "-p", "tcp", "-s", HUB, *how)

    def mend(self) -> None:
        self.rule("-F")

    def dropped(self) -> int:
        """Packets that met a rule."""
        command = [*self.prefix, "iptables", "-L", "-v", "-n", "-x"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return sum(int(line.split()[0]) for line in lines if line.split()[:1] and line.split()[0].isdigit())


@contextmanager
def open_namespaces(names: Sequence[str]) -> Iterator[dict[str, Namespace]]:
    """One for each of the names, each with a way to the hub; all gone at the end."""
    found: dict[str, Namespace] = {}
    mark = os.getpid() % 100_000
    _run("ip", "addr", "add", f"{HUB}/32", "dev", "lo", check=False)
    try:
        for number, name in enumerate(names, start=1):
            space, cable = f"cb{mark}{name}", f"cb{mark}n{number}"
            ours, theirs = f"10.77.{number}.1", f"10.77.{number}.2"
            _run("ip", "netns", "add", space)
            found[name] = Namespace(space, theirs)
            _run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            _run("ip", "addr", "add", f"{ours}/30", "dev", cable)
            _run("ip", "link", "set", cable, "up")
            inside = found[name].prefix
            _run(*inside, "ip", "addr", "add", f"{theirs}/30", "dev", "eth0")
            _run(*inside, "ip", "link", "set", "lo", "up")
            _run(*inside, "ip", "link", "set", "eth0", "up")
            _run(*inside, "ip", "route", "add", "default", "via", ours)
        yield found
    finally:
        for number, space_of in enumerate(found.values(), start=1):
            # A namespace lives on while a socket in it still sends; its cable would be in the way of the next one.
            _run("ip", "link", "del", f"cb{mark}n{number}", check=False)
            _run("ip", "netns", "del", space_of.name, check=False)
        _run("ip", "addr", "del", f"{HUB}/32", "dev", "lo", check=False)
