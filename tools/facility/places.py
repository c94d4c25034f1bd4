"""The folder of a facility, its state, and the configuration files of deploy/ filled in for it."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
PORTS = ("proxy", "api", "routes", "condor", "xrootd", "prometheus")
PREFERRED = {"proxy": 8000, "xrootd": 1094, "prometheus": 9090}
_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")
_LONGEST = 60  # the paths of sockets have at most 107 characters, HTCondor's and Jupyter's names among them


class FacilityError(Exception):
    """What keeps the facility from starting, with what to do."""


@dataclass
class State:
    """What is remembered between two commands.

    Attributes
    ----------
    users : list of str
        Who may log in.
    made : list of str
        Accounts of this machine that were made for the facility.
    ports : dict
        Ports of services, and of the runs of each user.
    processes : dict
        The number of each service's process, and when it started.
    """

    users: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, tuple[int, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Places:
    """The folder of a facility and what is in it."""

    folder: Path

    @property
    def state(self) -> Path:
        """The file of the state."""
        return self.folder / "state.json"

    def load(self) -> State:
        """Read the state; an empty one if there is none."""
        if not self.state.exists():
            return State()
        return State(**json.loads(self.state.read_text()))

    def save(self, state: State) -> None:
        """Write the state."""
        part = self.state.with_suffix(".part")
        part.write_text(json.dumps(asdict(state), indent=1))
        part.replace(self.state)

    def make(self) -> None:
        """Make the folder, which all users may enter.

        Raises
        ------
        FacilityError
            If its path is too long, or others cannot enter it.
        """
        if len(str(self.folder)) > _LONGEST:
            raise FacilityError(f"{self.folder} is longer than {_LONGEST} characters, too long for sockets; "
                                "name a shorter one: make facility FACILITY=/srv/facility")  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        if os.geteuid() == 0:
            for each in (*self.folder.parents, REPOSITORY / "src"):
                if not each.stat().st_mode & 0o001:
                    raise FacilityError(f"ordinary users cannot enter {each}; clone the project to a folder that all "
                                        "may read, such as /srv")  # fmt: skip
        for name in ("log", "etc", "home", "data", "share"):
            (self.folder / name).mkdir(exist_ok=True)
            (self.folder / name).chmod(0o755)


def fill(source: Path, target: Path, values: Mapping[str, object], mode: int = 0o644) -> Path:
    """Write a file of deploy/ with its placeholders filled in.

    Raises
    ------
    FacilityError
        If a placeholder has no value.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise FacilityError(f"{source}: no value for @{found[1]}@; valid: {', '.join(sorted(values))}")
        return str(values[found[1]])

    text = _PLACEHOLDER.sub(value, source.read_text())
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as stream:  # noqa: PTH123
        stream.write(text)
    target.chmod(mode)
    return target


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from the beginning."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:  # noqa: PTH123
        stream.write(text)


def free_port(preferred: int = 0) -> int:
    """Return a port of loopback that nobody uses now, the preferred one if possible."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def choose_ports(known: Mapping[str, int], users: list[str]) -> dict[str, int]:
    """Return a port for each service and each user, the same as before as far as they are free."""
    return {name: free_port(known.get(name) or PREFERRED.get(name, 0)) for name in (*PORTS, *users)}
