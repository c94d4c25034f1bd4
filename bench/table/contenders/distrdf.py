"""ROOT's distributed RDataFrame on Dask workers of one thread."""

from __future__ import annotations

from pathlib import Path

from bench.table.analysis import steps
from bench.table.contenders.rdataframe import HEADER, contents
from bench.table.inputs import Input


class Contender:
    """A cluster whose workers have just started, and a session in which ROOT was imported."""

    IS_READY = True

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        import ROOT

        self._root, self._given, self._workers = ROOT, given, workers
        self._cluster, self._client = cluster(workers, folder)
        ROOT.RDF.Distributed.DistributeCppCode(HEADER.read_text(encoding="utf-8"))

    def best(self, pt: float = 7.5, bins: int = 64, rule: str = "mass") -> dict[str, list[float]]:
        """Run the query, with one part of the files for each worker."""
        frame = self._root.RDataFrame(
            self._given.tree, list(self._given.files), executor=self._client, npartitions=self._workers
        )
        booked = steps.book(frame, pt, bins, rule)
        return {name: contents(handle.GetValue()) for name, handle in booked.items()}

    def close(self) -> None:
        """Stop the cluster."""
        self._client.close()
        self._cluster.close()


def cluster(workers: int, folder: Path):
    """Start Dask workers of one thread, each a process."""
    from distributed import Client, LocalCluster

    made = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None,
                        memory_limit=0, local_directory=str(folder))  # fmt: skip
    client = Client(made)
    client.wait_for_workers(workers)
    return made, client
