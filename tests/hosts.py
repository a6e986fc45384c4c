"""Two hosts on one machine, for what crosses a network: made of Linux's namespaces, by root.

Each has a network with one cable to the other, processes, mounts, a name and shared memory of its own, and shares the
files: like two machines with a common disk. Whatever was started in one ends with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

NAMES = ("first", "second")
ADDRESSES = ("10.77.0.1", "10.77.0.2")

# What Ray keeps of a session, and shared memory, are a machine's own. bash takes in what is orphaned there (a raylet
# that nobody takes in looks alive to its workers), and ends, and the host with it, with its input: when whoever made it
# is gone, whatever ended that. Behind cat is a command, or bash would become cat, which takes in nothing.
INIT = """
set -e
hostname {name}
mount -t tmpfs tmpfs /dev/shm
mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray
mount --bind {hosts} /etc/hosts
echo ready
cat
exit
"""


class Host:
    """One of the two.

    Args:
        name: Its own, which the other knows too.
        address: On the cable.
        hosts: A file in the form of ``/etc/hosts``.
    """

    def __init__(self, name: str, address: str, hosts: Path) -> None:
        self.name, self.address = name, address
        namespaces = ("--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")
        command = ["unshare", *namespaces, "bash", "-c", INIT.format(name=name, hosts=hosts)]
        self._outer = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._outer.stdout is not None
        if self._outer.stdout.readline() != "ready\n":
            raise RuntimeError(f"the host {name} could not be made")
        (init,) = psutil.Process(self._outer.pid).children()
        self.pid = init.pid

    def start(
        self, command: Sequence[str | Path], *, cwd: Path | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a command there, with the options of ``subprocess.Popen``."""
        enter = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--uts", "--ipc", "--pid"]
        # Who enters another tree of mounts stands at its root.
        there = ["env", f"--chdir={cwd or Path.cwd()}"]
        return subprocess.Popen([*enter, *there, *map(str, command)], text=True, **options)

    def run(self, command: Sequence[str | Path], *, timeout: float = 120, **options: Any) -> str:
        """Run a command there and return what it printed.

        Raises:
            RuntimeError: It failed, or took too long; says what it printed.
        """
        process = self.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
        try:
            printed, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise RuntimeError(f"{self.name}: {command} took longer than {timeout:.0f} s") from None
        if process.returncode:
            raise RuntimeError(f"{self.name}: {command} ended with {process.returncode}:\n{printed}")
        return printed

    def cover(self, path: Path, with_: Path) -> None:
        """Have ``path`` be ``with_`` on this host, until ``uncover``."""
        self.run(["mount", "--bind", with_, path])

    def uncover(self, path: Path) -> None:
        self.run(["umount", path])

    def end(self) -> None:
        """End all that runs there, as if the power were cut."""
        self._outer.kill()
        self._outer.wait(30)


def can_make() -> bool:
    """Whether this process may make hosts."""
    return (
        sys.platform == "linux" and os.geteuid() == 0 and all(map(shutil.which, ("ip", "unshare", "nsenter")))
    )


@contextlib.contextmanager
def two_hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    """Yield two hosts with a cable between them, and end them; ``folder`` is for what they need."""
    names = "".join(f"{address} {name}\n" for address, name in zip(ADDRESSES, NAMES, strict=True))
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
    with contextlib.ExitStack() as stack:
        both = []
        for name, address in zip(NAMES, ADDRESSES, strict=True):
            both.append(Host(name, address, folder / "hosts"))
            stack.callback(both[-1].end)
        first, second = both
        cable = f"ip link add eth0 netns {first.pid} type veth peer eth0 netns {second.pid}"
        subprocess.run(cable.split(), check=True)
        for one, other in ((first, second), (second, first)):
            # On its loopback as well: when the other host ends, the cable goes, and the address on it.
            for command in (
                "link set lo up",
                f"addr add {one.address}/32 dev lo",
                "link set eth0 up",
                f"addr add {one.address}/24 dev eth0",
            ):
                one.run(["ip", *command.split()])
            one.run(["ip", "route", "add", "default", "via", other.address])
        yield first, second


ANOTHER_CLUSTERS = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with ``own``, and without what of it is about another cluster."""
    return {name: value for name, value in os.environ.items() if name not in ANOTHER_CLUSTERS} | dict(own)
