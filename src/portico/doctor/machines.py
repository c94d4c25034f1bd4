"""Checks of software and machines: each is a function from facts to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from portico.doctor.facts import Facts
from portico.doctor.finding import Finding, error, grouped, named, ok, warning
from portico.doctor.images import fix_of, images
from portico.monitor.units import duration, size

__all__ = ["CHECKS", "NO_DISK", "SCARCE_DISK", "threads", "versions"]

_MUST_AGREE = {
    "portico": "driver and workers exchange messages, and results are stored under the driver's version",
    "root": "the workers' ROOT computes the results, but they are stored under the driver's version",
}
_SHOULD_AGREE = {
    **dict.fromkeys(("dask", "distributed"), "Dask is tested only with client, scheduler and workers of one version"),
    **dict.fromkeys(
        ("numpy", "awkward", "uproot", "correctionlib", "numba"), "results of steps that use it can differ"
    ),
}
_INSTALL = {"portico": "portico-hep", "root": "root"}
_SCARCE_MEMORY, _NO_MEMORY = 1e9, 0.5e9
SCARCE_DISK, NO_DISK = 1e9, 100e6
"""Bytes of free disk below which there is a warning, or an error."""

_WRONG_CLOCK, _FALSE_CLOCK = 5.0, 300.0


def answers(facts: Facts) -> Iterator[Finding]:
    """Report which workers answer, and which cannot."""
    for reason, workers in grouped(facts.silent).items():
        fix = "read the worker's log; install portico and ROOT there, or exclude that worker"
        yield error("workers", f"{named(workers)}: {reason}", "chunks that are sent to it fail", fix)
    for problem, workers in grouped({n: w["root"]["problem"] for n, w in facts.workers.items()}).items():
        if problem:
            yield error("ROOT", f"{named(workers)}: {problem}", "no chunk can run there", "install what is missing")
    hosts = {str(worker["host"]) for worker in facts.workers.values()}
    images = {str(worker["image"]) for worker in facts.workers.values()} - {""}
    within = f", in {', '.join(sorted(images))}" if images else ""
    if facts.workers:
        count = f"{len(facts.workers)} worker{'' if len(facts.workers) == 1 else 's'}"
        yield ok("workers", f"{count} on {named(sorted(hosts))}{within}")


def versions(facts: Facts) -> Iterator[Finding]:
    """Compare versions of client, scheduler and workers."""
    wrong = list(_python(facts))
    for package, why in {**_MUST_AGREE, **_SHOULD_AGREE}.items():
        here = str(facts.here["versions"].get(package, ""))
        make = error if package in _MUST_AGREE else warning
        wanted = f"{_INSTALL.get(package, package)}=={here or 'VERSION'}"
        for version, where in grouped(facts.version(package)).items():
            if version != here:
                what = f"{package} {version or '(none)'} on {named(where)}, {here or '(none)'} here"
                wrong.append(make("versions", what, why, fix_of(facts, where, wanted)))
    runs = grouped({name: str(worker["root"]["version"]) for name, worker in facts.workers.items()})
    if len(runs) > 1:
        what = "; ".join(f"ROOT {version or '(none)'} on {named(workers)}" for version, workers in runs.items())
        wrong.append(error("versions", what, _MUST_AGREE["root"], "give all workers the same environment or image"))
    if not wrong:
        wrong += _sources(facts)
    yield from wrong
    if not wrong and facts.workers:
        shown = {"Python": facts.here["python"], "ROOT": next(iter(runs)), "portico": facts.here["versions"]["portico"]}
        if facts.cluster:
            shown["distributed"] = facts.here["versions"]["distributed"]
        everywhere = "client, scheduler and workers" if facts.cluster else "client and workers"
        yield ok("versions", f"{', '.join(f'{k} {v}' for k, v in shown.items())}: the same on {everywhere}")


def _python(facts: Facts) -> Iterator[Finding]:
    def minor(version: str) -> str:
        return ".".join(version.split(".")[:2])

    here = minor(str(facts.here["python"]))
    known = {name: minor(versions["python"]) for name, versions in facts.cluster.items() if "python" in versions}
    known |= {name: minor(str(worker["python"])) for name, worker in facts.workers.items()}
    for version, where in grouped(known).items():
        if version != here:
            what = f"Python {version} on {named(where)}, {here} here"
            why = "modules that run here may not run there, and Dask's messages may be unreadable"
            yield error("versions", what, why, "give client, scheduler and workers the same environment or image"
                        + (f": {fix_of(facts, where, '')}" if _in_images(facts) else ""))  # fmt: skip


def _in_images(facts: Facts) -> bool:
    return any(one["image"] for one in (facts.here, *facts.workers.values()))


def _sources(facts: Facts) -> Iterator[Finding]:
    other = [name for name, worker in facts.workers.items() if worker["source"] != facts.here["source"]]
    if other:
        what = f"portico on {named(other)} has the same version as here, but another source"
        yield warning("versions", what, "results can differ", "install the same copy of portico everywhere")


def xrootd(facts: Facts) -> Iterator[Finding]:
    """Refuse versions of XRootD's Python package that crash beside ROOT."""
    known = facts.version("xrootd") | {"this machine": str(facts.here["versions"]["xrootd"])}
    for version, where in grouped(known).items():
        major = version.partition(".")[0]
        if major.isdigit() and int(major) >= 6:
            why = "it crashes when ROOT reads root:// in the same process"
            yield error("XRootD", f"xrootd {version} on {named(where)}", why, "pip install 'xrootd<6'")


def processors(facts: Facts) -> Iterator[Finding]:
    """Check whether all machines compute the same last bits."""
    machines = grouped({name: str(worker["machine"]) for name, worker in facts.workers.items()})
    if len(machines) > 1:
        what = "; ".join(f"{machine}: {named(workers)}" for machine, workers in machines.items())
        yield warning("processors", what, "the last bits of results depend on where each chunk ran",
                      "request machines of one kind")  # fmt: skip
        return
    groups = grouped({"this machine": _kind(facts.here), **{n: _kind(w) for n, w in facts.workers.items()}})
    if len({kind[0] for kind in groups}) > 1:
        what = "; ".join(f"{named(where)}: {', '.join(filter(None, kind[1:]))}" for kind, where in groups.items())
        yield warning(
            "processors", what,
            "exp, log, sin and others of the C library and numpy differ in their last bits between them, and results "
            "can differ by rounding: portico compare distinguishes this from other differences",
            "nothing, or request machines of one kind where results must be equal bit for bit",
        )  # fmt: skip
    elif facts.workers:
        yield ok("processors", "all machines compute the same last bits")


def _kind(machine: Mapping[str, object]) -> tuple[str, ...]:
    cpu = machine["cpu"]
    features = " ".join(cpu["features"]) if isinstance(cpu, dict) else ""
    model = str(cpu["model"]) if isinstance(cpu, dict) else ""
    return str(machine["arithmetic"]), model, features, str(machine["libc"])


def threads(facts: Facts) -> Iterator[Finding]:
    """Report workers with more than one thread, and machines with more workers than cores."""
    for count, workers in grouped(facts.threads).items():
        if count > 1:
            what = f"{named(workers)}: {count} threads each"
            why = "each thread starts its own process with its own memory; ROOT's distributed RDataFrame refuses them"
            yield warning("threads", what, why, "start workers with one thread: dask worker --nworkers N --nthreads 1")
    for host, workers in _by_host(facts).items():
        cores = int(facts.workers[workers[0]]["cores"])
        if len(workers) > cores:
            what, why = f"{host}: {len(workers)} workers on {cores} cores", "they slow each other down"
            yield warning("threads", what, why, "start as many workers as there are cores")


def memory(facts: Facts) -> Iterator[Finding]:
    """Report machines with too little memory for each worker."""
    for host, workers in _by_host(facts).items():
        amounts = facts.workers[workers[0]]["memory"]
        each = min(amounts["total"], amounts["available"]) / len(workers)
        if each < _SCARCE_MEMORY:
            make = error if each < _NO_MEMORY else warning
            why = "a worker with ROOT needs 0.5 GB before it reads anything, and about 1 GB for a common step"
            yield make("memory", f"{host}: {size(each)} for each of {len(workers)} workers", why,
                       "request more memory, or start fewer workers")  # fmt: skip


def disk(facts: Facts) -> Iterator[Finding]:
    """Report machines whose scratch disk is full."""
    for host, workers in _by_host(facts).items():
        worker = facts.workers[workers[0]]
        if 0 <= worker["disk"] < SCARCE_DISK:
            make = error if worker["disk"] < NO_DISK else warning
            what = f"{host}: {size(worker['disk'])} free in {worker['scratch']}"
            why = "workers store modules, headers and compiled code there"
            yield make("scratch disk", what, why, "free some space, or set TMPDIR on the workers")


def clocks(facts: Facts) -> Iterator[Finding]:
    """Report clocks that are wrong."""
    for worker, ahead in facts.skew.items():
        if abs(ahead) > _WRONG_CLOCK:
            make = error if abs(ahead) > _FALSE_CLOCK else warning
            what = f"{worker}: {duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this machine"
            why = "servers refuse proxies and tokens that seem expired or not yet valid, and reports show wrong times"
            yield make("clocks", what, why, "ask its administrator to start chrony or ntpd")


def _by_host(facts: Facts) -> dict[str, list[str]]:
    return grouped({name: str(worker["host"]) for name, worker in facts.workers.items()})


CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    answers, versions, images, xrootd, processors, threads, memory, disk, clocks,
)  # fmt: skip
"""In the order in which their findings are shown."""
