"""A site: where a run goes and what one worker or job asks for, from one YAML file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from portico.config import Model

__all__ = ["Site"]


class Site(Model):
    """Settings of a facility.

    Parameters
    ----------
    name : str
        What follows ``--on``.
    kind : {"htcondor", "slurm", "ssh", "kubernetes", "gateway"}
        How workers are started.
    cores : int
        Of one job; each core gets one process with one thread.
    memory : str
        Of one job, such as ``2 GB``.
    disk : str
        Of one job.
    walltime : str
        ``HH:MM:SS`` of one job; workers retire before.
    workers : int
        How many at most; the cluster adapts between ``minimum`` and this.
    minimum : int
        How many at least.
    patience : float
        Seconds after which jobs that have not started are reported, with the batch system's reason.
    python : str, optional
        The interpreter of the workers; this one by default.
    image : str, optional
        Container image of the workers.
    environment : mapping
        Variables to set on the workers.
    extra : mapping
        Further lines of the job description: keys and values of HTCondor, options of Slurm.
    options : mapping
        Further arguments of the library that starts the cluster (hosts of SSH, address of a gateway).
    interface : str, optional
        Network interface on which driver and workers talk.
    folder : str, optional
        Where job logs go, on a disk that driver and jobs share.
    scratch : str, optional
        Local disk of a worker.
    """

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    kind: Literal["htcondor", "slurm", "ssh", "kubernetes", "gateway"]
    cores: int = Field(default=1, ge=1)
    memory: str = "2 GB"
    disk: str = "4 GB"
    walltime: str = Field(default="04:00:00", pattern=r"^\d+:[0-5]\d:[0-5]\d$")
    workers: int = Field(default=10, ge=1)
    minimum: int = Field(default=0, ge=0)
    patience: float = Field(default=120.0, gt=0)
    python: str | None = None
    image: str | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    extra: dict[str, str] = Field(default_factory=dict)
    options: dict[str, str | int | float | bool | list[str]] = Field(default_factory=dict)
    interface: str | None = None
    folder: str | None = None
    scratch: str | None = None
