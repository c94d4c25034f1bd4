"""Sites: the settings of a facility, its jobs and its workers, from one YAML file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ByteSize, Field, TypeAdapter, ValidationError, field_validator, model_validator

from portico.config import Model, parse, read_yaml
from portico.errors import ConfigError, nearest
from portico.files.placement import Placement

__all__ = ["RESERVED", "Site", "copy_site", "find_site", "load_site", "looks_like_a_file", "own_folder", "sites"]

Kind = Literal["htcondor", "slurm", "ssh", "kubernetes", "gateway"]
Option = str | int | float | bool | list[str] | dict[str, str | int | float | bool]


def _as_time(value: object) -> object:
    """Convert seconds to text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value // 3600:02d}:{value // 60 % 60:02d}:{value % 60:02d}"
    return value


Walltime = Annotated[str, BeforeValidator(_as_time), Field(pattern=r"^\d+:[0-5]\d:[0-5]\d$")]

RESERVED = frozenset({"local", "dask"})
"""Values of ``--on`` that are not sites."""

_QUEUE_KEYS = {"htcondor": "+JobFlavour", "slurm": "partition"}
_MACHINE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_NAME = r"^[A-Za-z][A-Za-z0-9_-]*$"
_SIZE: TypeAdapter[ByteSize] = TypeAdapter(ByteSize)


class Site(Model):
    """Settings of a facility.

    Parameters
    ----------
    name : str
        Value of ``--on``, and name of the file.
    kind : {"htcondor", "slurm", "ssh", "kubernetes", "gateway"}
        System that starts the workers.
    cores : int
        Cores of one job; each core gets one process with one thread.
    memory : str
        Memory of one job, such as ``2 GB``.
    disk : str
        Disk space of one job.
    walltime : str
        Walltime of one job, ``HH:MM:SS``; workers retire earlier.
    workers : int
        Maximum number of workers; the cluster adapts between ``minimum`` and this.
    minimum : int
        Minimum number of workers.
    patience : float
        Seconds after which jobs that have not started are reported, with the batch system's reason.
    python : str, optional
        Interpreter of the workers; by default this one, or ``python3`` of the image.
    image : str, optional
        Container image of the workers.
    environment : mapping
        Environment variables of the workers.
    extra : mapping
        Further lines of the job description: keys and values of HTCondor, or options of Slurm.
    options : mapping
        Further arguments of the library that starts the cluster (hosts of SSH, address of a gateway).
    interface : str, optional
        Network interface for the connections between driver and workers.
    folder : str, optional
        Folder for job logs, on a disk that driver and jobs share; below ``~/.local/state/portico`` by default.
    scratch : str, optional
        Local disk of a worker; environment variables in it are expanded on the worker.
    filesystem : {"shared", "none"}
        Whether batch jobs share a disk with the machine that submits them; if not, their files are transferred.
    avoid : tuple of str
        Machines, by host name, on which no job starts.
    queues : mapping of str to str
        The longest walltime of each queue, ``HH:MM:SS``; jobs go to the shortest queue that is long enough.
    queue_key : str, optional
        Line of the job description that names the queue; ``partition`` on Slurm and ``+JobFlavour`` on HTCondor by
        default.
    storage : Placement
        Storage sites that are allowed, blocked or preferred for jobs here, where files have several replicas.
    """

    name: str = Field(pattern=_NAME)
    kind: Kind
    cores: int = Field(default=1, ge=1)
    memory: str = "2 GB"
    disk: str = "4 GB"
    walltime: Walltime = "04:00:00"
    workers: int = Field(default=10, ge=1)
    minimum: int = Field(default=0, ge=0)
    patience: float = Field(default=120.0, gt=0)
    python: str | None = None
    image: str | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    extra: dict[str, str] = Field(default_factory=dict)
    options: dict[str, Option] = Field(default_factory=dict)
    interface: str | None = None
    folder: str | None = None
    scratch: str | None = None
    filesystem: Literal["shared", "none"] = "shared"
    avoid: tuple[str, ...] = ()
    queues: dict[str, Walltime] = Field(default_factory=dict)
    queue_key: str | None = None
    storage: Placement = Field(default_factory=Placement)

    @field_validator("environment", "extra", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        """Convert numbers and booleans to text: ``nice: 100`` needs no quotes."""
        if not isinstance(value, dict):
            return value
        return {key: str(v) if isinstance(v, (int, float)) else v for key, v in value.items()}

    @field_validator("memory", "disk", mode="after")
    @classmethod
    def _is_size(cls, value: str) -> str:
        try:
            size = _SIZE.validate_python(value)
        except ValidationError:
            size = ByteSize(0)
        if size <= 0:
            raise ValueError("write a size with its unit, for example '2 GB' or '500 MB'")
        return value

    @model_validator(mode="after")
    def _is_complete(self) -> Site:
        if self.minimum > self.workers:
            raise ValueError(f"minimum is {self.minimum}, but workers is only {self.workers}")
        if self.name in RESERVED:
            raise ValueError(f"a site cannot be named '{self.name}', which has another meaning; rename the file")
        if self.kind == "kubernetes" and self.image is None:
            raise ValueError("key 'image' is missing: pods need an image with portico")
        if self.kind == "ssh" and not self.options.get("hosts"):
            raise ValueError("key 'options.hosts' is missing: write for example hosts: [node1, node2]")
        self._check_queues()
        return self

    def _check_queues(self) -> None:
        if (self.avoid or self.queues or self.queue_key) and self.kind not in _QUEUE_KEYS:
            raise ValueError(f"'avoid', 'queues' and 'queue_key' are for {' and '.join(_QUEUE_KEYS)}, not {self.kind}")
        if wrong := [name for name in self.avoid if not _MACHINE.fullmatch(name)]:
            raise ValueError(f"avoid: '{wrong[0]}' is not a host name; write for example node17 or node17.site.example")
        if self.queues and max(map(_seconds, self.queues.values())) < self.seconds:
            longest = max(self.queues, key=lambda name: _seconds(self.queues[name]))
            raise ValueError(
                f"no queue takes jobs of {self.walltime}: the longest, '{longest}', has {self.queues[longest]}; give a "
                "shorter walltime, or another queue"
            )

    @property
    def queue(self) -> str:
        """The shortest queue in which a job may run for its walltime; empty if no queues are given."""
        limits = sorted((_seconds(walltime), name) for name, walltime in self.queues.items())
        return next((name for limit, name in limits if limit >= self.seconds), "")

    @property
    def queue_line(self) -> dict[str, str]:
        """The line of the job description that chooses the queue; none if no queues are given."""
        if not self.queue:
            return {}
        key = self.queue_key or _QUEUE_KEYS[self.kind]
        return {key: f'"{self.queue}"' if key.startswith("+") else self.queue}

    @property
    def memory_bytes(self) -> int:
        """Memory of one job in bytes."""
        return int(_SIZE.validate_python(self.memory))

    @property
    def seconds(self) -> int:
        """The walltime in seconds."""
        return _seconds(self.walltime)


def _seconds(walltime: str) -> int:
    hours, minutes, rest = (int(part) for part in walltime.split(":"))
    return 3600 * hours + 60 * minutes + rest


def own_folder() -> Path:
    """Return the folder of the user's own sites, whether it exists or not."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "portico" / "sites"


def sites() -> Mapping[str, Path]:
    """Return the file of each site; the user's own ones take precedence over shipped ones with the same name."""
    shipped = Path(str(files("portico") / "sites"))
    found = {path.stem: path for folder in (shipped, own_folder()) for path in sorted(folder.glob("*.yaml"))}
    return dict(sorted(found.items()))


def looks_like_a_file(name: str) -> bool:
    """Return whether a site is given as a path."""
    return name.endswith((".yaml", ".yml")) or "/" in name


def find_site(name: str) -> Path:
    """Return the file of a site.

    Parameters
    ----------
    name : str
        A name, or the path of a YAML file.

    Raises
    ------
    ConfigError
        If there is no such site.
    """
    if looks_like_a_file(name):
        return Path(name).expanduser()
    known = sites()
    if name not in known:
        raise ConfigError(f"no site '{name}' in {own_folder()} or among the shipped ones; {nearest(name, known)}")
    return known[name]


def load_site(name: str) -> Site:
    """Read a site.

    Parameters
    ----------
    name : str
        A name, looked up in ``~/.config/portico/sites`` and among the shipped sites, or the path of a YAML file.

    Raises
    ------
    ConfigError
        If there is no such site, or if a key in it is unknown, missing or wrong.
    """
    path = find_site(name)
    content: dict[str, Any] = {"name": path.stem, **read_yaml(path)}
    if content["name"] != path.stem:
        raise ConfigError(f"{path}: key 'name' is '{content['name']}', but a site has the name of its file; remove it")
    return parse(Site, content, str(path))


def copy_site(name: str, target: Path) -> Path:
    """Copy the file of a site, to be edited; return the path of the copy.

    Raises
    ------
    ConfigError
        If there is no such site, or the file exists or cannot be written.
    """
    load_site(name)
    target = target.expanduser()
    if target.exists():
        raise ConfigError(f"{target} is there already; remove it, or choose another name")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(find_site(name).read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror}") from error
    return target
