"""Dask clusters on Kubernetes, through the operator of dask-kubernetes: scheduler and workers are pods."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml

from portico.clusters.base import DEATH_SECONDS, SILENT, Cluster, limit, need, one_line
from portico.clusters.queues.base import mebibytes
from portico.clusters.site import Site
from portico.errors import ConfigError, WorkerError

__all__ = ["manifest", "reasons", "script", "start"]

_OURS = {"namespace", "context", "service_account"}


def script(site: Site) -> str:
    """Return the manifest as YAML; nothing is created."""
    need("kubernetes", "Dask on Kubernetes", ["dask_kubernetes"])
    return yaml.safe_dump(manifest(site, f"portico-{site.name}"), sort_keys=False)


def start(site: Site, workers: int | None) -> _Kubernetes:
    """Create the cluster.

    Raises
    ------
    WorkerError
        If Kubernetes does not answer, or if the operator is not installed there.
    """
    need("kubernetes", "Dask on Kubernetes", ["dask_kubernetes", "distributed"])
    return _Kubernetes(site, workers)


def manifest(site: Site, name: str) -> dict[str, Any]:
    """Return the ``DaskCluster`` resource of a site.

    Parameters
    ----------
    site : Site
        Its settings.
    name : str
        Name of the cluster.
    """
    from dask_kubernetes.operator import make_cluster_spec

    amounts = {"cpu": str(site.cores), "memory": f"{mebibytes(site.memory)}Mi",
               "ephemeral-storage": f"{mebibytes(site.disk)}Mi"}  # fmt: skip
    per_worker = site.memory_bytes // site.cores
    command = [
        site.python or "python3", "-P", "-m", "distributed.cli.dask_worker", "--nworkers", str(site.cores),
        "--nthreads", "1", "--memory-limit", str(per_worker), "--death-timeout", str(DEATH_SECONDS), *SILENT,
        *(["--local-directory", site.scratch] if site.scratch else []),
    ]  # fmt: skip
    spec: dict[str, Any] = make_cluster_spec(
        name=name, image=site.image, n_workers=max(-(-site.minimum // site.cores), 1), worker_command=command,
        env={**site.environment, "OMP_NUM_THREADS": "1"}, resources={"requests": amounts, "limits": dict(amounts)},
    )  # fmt: skip
    scheduler = spec["spec"]["scheduler"]["spec"]
    scheduler["containers"][0]["resources"] = {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "2Gi"}}
    for pod in (spec["spec"]["worker"]["spec"], scheduler):
        # Code of the user runs there: it needs no access to Kubernetes, and no more rights than a process.
        pod["automountServiceAccountToken"] = False
        pod["containers"][0]["securityContext"] = {"allowPrivilegeEscalation": False}
        if account := site.options.get("service_account"):
            pod["serviceAccountName"] = account
    return spec


def reasons(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return why pods are not running, as Kubernetes reports it.

    Parameters
    ----------
    pods : iterable of mapping
        Pods as Kubernetes returns them.
    """
    counts: Counter[str] = Counter()
    for pod in pods:
        status = pod.get("status", {})
        waiting = [c.get("state", {}).get("waiting") for c in status.get("containerStatuses", [])]
        words = [f"{w.get('reason', '')}: {w.get('message', '')}".strip(": ") for w in waiting if w]
        words += [c["message"] for c in status.get("conditions", [])
                  if c.get("status") == "False" and c.get("type") == "PodScheduled" and c.get("message")]  # fmt: skip
        if status.get("phase") != "Running" or words:
            counts["; ".join(words) or f"phase {status.get('phase', 'unknown')}"] += 1
    return [f"Kubernetes: {n} pod{'s are' if n > 1 else ' is'} not running: {why}" for why, n in counts.items()]


class _Kubernetes(Cluster):
    def __init__(self, site: Site, workers: int | None) -> None:
        from dask_kubernetes.operator import KubeCluster

        self.site, self.maximum = site, limit(site, workers)
        self._name = f"portico-{site.name}-{uuid.uuid4().hex[:6]}"
        options = {key: value for key, value in site.options.items() if key not in _OURS}
        self._namespace = site.options.get("namespace")
        try:
            self.dask = KubeCluster(
                custom_cluster_spec=manifest(site, self._name), namespace=self._namespace, quiet=True,
                resource_timeout=int(site.patience), **options,
            )  # fmt: skip
        except TypeError as error:
            raise ConfigError(f"site '{site.name}': dask-kubernetes refuses 'options': {error}") from error
        except Exception as error:  # of httpx, kr8s and the operator: each has its own
            raise WorkerError(
                f"site '{site.name}': Kubernetes did not start the cluster: {one_line(error)}; check: kubectl get "
                "pods, and that the Dask operator is installed there (https://kubernetes.dask.org)"
            ) from error

    def adapt(self, demand: Callable[[], int]) -> None:  # noqa: ARG002 (the operator asks the scheduler itself)
        """Let the operator adapt; if the minimum is not below the maximum, keep all workers."""
        jobs = self.maximum // self.site.cores
        least = -(-self.site.minimum // self.site.cores)
        if least >= jobs:
            self.dask.scale(jobs)
        else:
            self.dask.adapt(minimum=max(least, 1), maximum=jobs)

    def problems(self) -> list[str]:
        """Return why pods are not running."""
        import kr8s

        try:
            found = kr8s.get(
                "pods", namespace=self.dask.namespace, label_selector={"dask.org/cluster-name": self._name}
            )
            return reasons([pod.raw for pod in found])
        except Exception as error:
            return [f"Kubernetes does not answer: {one_line(error)}"]
