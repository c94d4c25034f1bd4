"""The same analysis through portico and through ROOT's own distributed RDataFrame, on one Dask cluster.

The cluster has two worker processes of one thread. "cold" is the first run on fresh workers, "warm" the
ones after it. Histograms of both are compared before anything is timed.

Usage: python bench/distrdf.py [EVENTS] [RUNS]
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
from _common import HERE, made_files, run_once
from distributed import Client, LocalCluster

from portico.executors.dask import DaskExecutor

sys.path.insert(0, str(HERE))


def theirs(client: Client, files: list[str], partitions: int) -> tuple[float, dict[str, np.ndarray]]:
    """Time ROOT's own distributed RDataFrame."""
    import steps

    from portico import root

    ROOT = root.load()
    start = time.perf_counter()
    frame = ROOT.RDataFrame("Events", files, executor=client, npartitions=partitions)
    products = steps.book(frame)
    ROOT.RDF.RunGraphs(list(products.values()))
    contents = {name: np.array(list(handle.GetValue()))[1:-1] for name, handle in products.items()}
    return time.perf_counter() - start, contents


def cluster() -> LocalCluster:
    return LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0)


def main() -> None:
    warnings.filterwarnings("ignore")
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    files = made_files(events, 10)
    cold: dict[str, list[float]] = {"portico": [], "root": []}
    warm: dict[str, list[float]] = {"portico": [], "root": []}
    for _ in range(2):
        with cluster() as made, Client(made) as client:
            seconds, contents = theirs(client, files, 2)
            cold["root"].append(seconds)
            warm["root"] += [theirs(client, files, 2)[0] for _ in range(runs)]
        with cluster() as made:
            executor = DaskExecutor(made.scheduler_address)
            seconds, results = run_once(files, "dimuon", executor)
            for name, content in contents.items():
                assert np.array_equal(results[name].values(), content), name
            cold["portico"].append(seconds)
            warm["portico"] += [run_once(files, "dimuon", executor)[0] for _ in range(runs)]
            executor.close()
    print(f"{len(contents)} histograms equal, {sum(contents['mass']):.0f} pairs")
    for what, times in (("cold", cold), ("warm", warm)):
        ours, other = (float(np.median(times[name])) for name in ("portico", "root"))
        print(f"{what}: portico {ours:.2f} s, ROOT's own {other:.2f} s, ratio {ours / other:.2f} (aim 1.00)")


if __name__ == "__main__":
    main()
