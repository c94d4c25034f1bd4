"""The choice of the batch system of a site."""

from __future__ import annotations

from portico.clusters.queues.base import Queue
from portico.clusters.site import Site
from portico.errors import ConfigError

__all__ = ["queue_of"]


def queue_of(site: Site) -> Queue:
    """Return the batch system of a site.

    Raises
    ------
    ConfigError
        If the site has none.
    """
    if site.kind == "htcondor":
        from portico.clusters.queues.htcondor import HTCondor

        return HTCondor(site)
    if site.kind == "slurm":
        from portico.clusters.queues.slurm import Slurm

        return Slurm(site)
    raise ConfigError(f"site '{site.name}' is of kind '{site.kind}', which has no batch jobs; valid: htcondor, slurm")
