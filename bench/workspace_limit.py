"""CPU time and memory of limits on workspaces of 6 to 500 parameters, beside pyhf and RooStats.

Usage: python bench/workspace_limit.py [PARAMETERS ...] [--seconds N] [--together N] [--page docs/statistics.md]

Each program runs on each model in a process of its own, with one thread, and is stopped after N CPU seconds (90 by
default), two programs at a time. A program that does not finish a point is not run on larger models. A point is CLs of
one strength, observed and expected, with everything compiled before; the answer is the observed and five expected
limits, from reading the workspace; memory is the largest resident size until the end. Aims: a point in not more than
the time of RooStats from 50 parameters on, the answer in a fifth of that of pyhf, in not more memory. The models are
those of tests/large_models.py; the first one has 4 bins. With --page the table of a page is replaced.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from portico.stats.asymptotic import asymptotic_limit, cls_at
from portico.stats.exports.workspace_roofit import write_workspace_roofit
from portico.stats.workspace import INTERPOLATION, Workspace, using
from portico.stats.workspace_profiles import PyhfProfiles

ROOT_FOLDER = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT_FOLDER))
from tests.large_models import large_model  # noqa: E402

from roostats import compare_all  # noqa: E402

SMALLEST = 6  # the parameters of the 4 bins
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
ONE_THREAD["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
BEGIN, END = "<!-- begin of bench/workspace_limit.py -->\n", "<!-- end of bench/workspace_limit.py -->\n"
STRENGTHS = (0.8, 1.0, 1.2, 1.4)  # of the median expected limit
FROM = 50  # parameters, from where a point is compared with RooStats
POINTS = 20  # of the models of functions

CHANNEL: dict[str, Any] = {
    "name": "A",
    "samples": [
        {"name": "signal", "data": [2.0, 5.0, 8.0, 3.0],
         "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {
            "name": "background",
            "data": [50.0, 40.0, 30.0, 20.0],
            "modifiers": [
                {"name": "norm", "type": "normsys", "data": {"lo": 0.9, "hi": 1.12}},
                {
                    "name": "shape", "type": "histosys",
                    "data": {"lo_data": [47.0, 39.0, 31.0, 22.0], "hi_data": [54.0, 41.0, 29.0, 17.0]},
                },
                {"name": "stat_A", "type": "staterror", "data": [3.0, 2.5, 2.0, 1.8]},
            ],
        },
    ],
}  # fmt: skip


def model(parameters: int) -> Workspace:
    """Return the model of about so many parameters."""
    spec = large_model(parameters) if parameters > SMALLEST else {
        "channels": [CHANNEL], "observations": [{"name": "A", "data": [52.0, 43.0, 36.0, 21.0]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }  # fmt: skip
    return Workspace("bench", spec, spec["measurements"][0]["name"], "mu")


def portico(parameters: int, center: float, backend: str = "numpy") -> dict[str, Any]:
    """Measure this package; without a strength in the middle, first the answer."""
    began = time.process_time()
    with using(backend):
        workspace = model(parameters)
        limit = asymptotic_limit(PyhfProfiles(workspace, backend=backend))
        answer = time.process_time() - began
        profiles = PyhfProfiles(workspace, backend=backend)
        point = timed(lambda mu: cls_at(profiles, mu), limit.median)
    return {"answer": answer, "point": point, "observed": limit.observed, "median": limit.median}


def pyhf(parameters: int, center: float, backend: str = "numpy") -> dict[str, Any]:
    """Measure pyhf with the minimiser of scipy."""
    import pyhf as library

    with using(backend):
        spec = model(parameters).spec
        began = time.process_time()
        made = library.Model(
            {"channels": spec["channels"]}, poi_name="mu", validate=False, modifier_settings=INTERPOLATION
        )
        observed = {entry["name"]: entry["data"] for entry in spec["observations"]}
        data = [n for name in made.config.channels for n in observed[name]] + made.config.auxdata

        def of_one(mu: float) -> None:
            library.infer.hypotest(mu, data, made, test_stat="qtilde", return_expected_set=True)

        point = timed(of_one, center)
        report({"point": point})  # the answer may take too long
        scans = library.infer.intervals.upper_limits
        hypotest = scans.hypotest

        def as_numbers(*arguments: Any, **options: Any) -> tuple[float, list[float]]:
            """Return CLs as numbers: of arrays of jax, the scan of pyhf makes strengths that it cannot look up."""
            observed, expected = hypotest(*arguments, **options)
            return float(observed), [float(cls) for cls in expected]

        scans.hypotest = as_numbers
        began = time.process_time()
        found = library.infer.intervals.upper_limits.upper_limit(data, made, scan=None, level=0.05, rtol=1e-3)
    answer = time.process_time() - began
    return {"answer": answer, "point": point, "observed": float(found[0]), "median": float(found[1][2])}


def roostats(parameters: int, center: float) -> dict[str, Any]:
    """Measure a point of RooStats, on the model that is exported to RooFit."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.root")
        write_workspace_roofit(model(parameters), file)
        done = subprocess.run(
            [sys.executable, str(ROOT_FOLDER / "tests" / "roostats.py"), "time", str(file)],
            input=json.dumps({"points": [factor * center for factor in STRENGTHS[:2]]}), capture_output=True,
            text=True, check=True,
        )  # fmt: skip
    (points,) = json.loads(done.stdout)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"point": sum(seconds for seconds, *_ in points) / len(points), "memory": memory}


def timed(function: Callable[[float], object], center: float) -> float:
    """Return the CPU seconds of a call, after a first one."""
    function(0.9 * center)
    began = time.process_time()
    for factor in STRENGTHS:
        function(factor * center)
    return (time.process_time() - began) / len(STRENGTHS)


def report(found: dict[str, Any]) -> None:
    """Print what is known so far."""
    print(json.dumps(found), flush=True)


PROGRAMS: dict[str, Callable[[int, float], dict[str, Any]]] = {
    "portico": portico,
    "portico, jax": lambda parameters, center: portico(parameters, center, "jax"),
    "pyhf": pyhf,
    "pyhf, jax": lambda parameters, center: pyhf(parameters, center, "jax"),
    "RooStats": roostats,
}


def measured(program: str, parameters: int, center: float, seconds: float) -> dict[str, Any]:
    """Run a program in a process of its own, and return what it has reported until it ends or is stopped."""
    command = [sys.executable, __file__, "--one", program, str(parameters), str(center)]
    limit = f'ulimit -t {seconds:.0f} && exec "$@"'  # programs that are started have the same limit each
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            ["bash", "-c", limit, "bash", *command], env={**os.environ, **ONE_THREAD}, stdout=said, stderr=errors
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = code = os.waitstatus_to_exitcode(status)
        said.seek(0)
        errors.seek(0)
        lines, words = said.read().splitlines(), errors.read()
    killed = code < 0 or "died with <Signals" in words
    last = words.strip().splitlines() or [f"exit status {code}"]
    stopped = f"> {seconds:g}" if killed else f"fails: {last[-1].split(':')[0]}" if code else ""
    return {"stopped": stopped, "memory": used.ru_maxrss / 1024, **(json.loads(lines[-1]) if lines else {})}


def all_measured(sizes: list[int], seconds: float, together: int) -> dict[tuple[int, str], dict[str, Any]]:
    """Run all programs on all models, some at a time, and print what they find."""
    centers, found = dict[int, float](), dict[tuple[int, str], dict[str, Any]]()

    def run(program: str) -> None:
        fails = False
        for parameters in sizes:
            if fails:
                found[parameters, program] = {"stopped": f"> {seconds:g}"}
                continue
            of = measured(program, parameters, centers.get(parameters, 1.0), seconds)
            print(parameters, program, json.dumps(of), flush=True)
            found[parameters, program] = of
            fails = of["stopped"].startswith(">") and "point" not in of

    first, *others = PROGRAMS
    run(first)
    centers |= {parameters: found[parameters, first].get("median", 1.0) for parameters in sizes}
    with ThreadPoolExecutor(together) as pool:
        list(pool.map(run, others))
    return found


def table(sizes: list[int], seconds: float, together: int) -> str:
    """Measure all programs on all models, print what they find, and return the tables."""
    before = os.getloadavg()[0]
    rows = ["| parameters | program | CLs point (s) | six limits (s) | memory (MB) |", "|---|---|---|---|---|"]
    short, found = list[str](), all_measured(sizes, seconds, together)
    for parameters in sizes:
        for program in PROGRAMS:
            of = found[parameters, program]
            cells = [of["stopped"] if key not in of else f"{of[key]:.3g}" for key in ("point", "answer")]
            if program == "RooStats":
                cells[1] = ""
            memory = f"{of['memory']:.0f}" if "memory" in of else ""
            rows.append(f"| {parameters} | {program} | {cells[0]} | {cells[1]} | {memory} |")
        of_size = {program: found[parameters, program] for program in PROGRAMS}
        short += [f"{parameters} parameters: {what}" for what in missed(parameters, of_size, seconds)]
    small = compare_all(POINTS)
    short += [f"{name}: {mine / other:.2f} times RooStats" for name, (mine, other, _) in small.items() if mine > other]
    rows += ["", "| functions | CLs point, portico (s) | RooStats (s) | CLs apart by |", "|---|---|---|---|"]
    rows += [f"| {name} | {mine:.3g} | {other:.3g} | {apart:.0e} |" for name, (mine, other, apart) in small.items()]
    load = f"Load of the machine: {before:.1f} before, {os.getloadavg()[0]:.1f} after, with {os.cpu_count()} cores"
    versions = ", ".join(f"{name} {version(name)}" for name in ("pyhf", "numpy", "scipy", "jax"))
    return "\n".join([f"{load}; {versions}. Aims missed: {'; '.join(short) or 'none'}.", "", *rows]) + "\n"


def missed(parameters: int, of: dict[str, dict[str, Any]], seconds: float) -> list[str]:
    """Return the aims that are missed at a number of parameters.

    A program that was stopped takes more than the time it had: an aim is missed only if that time decides it.
    """
    ours, pyhf_, roofit = of["portico"], of["pyhf"], of["RooStats"]
    point, answer = ours.get("point", math.inf), ours.get("answer", math.inf)
    found = []
    if parameters >= FROM and point > (limit := roofit.get("point", seconds)):
        found.append(f"a point takes {point / limit:.2g} times that of RooStats")
    if answer > (limit := pyhf_.get("answer", seconds)) / 5:
        more = "" if "answer" in pyhf_ else "up to "
        found.append(f"the answer takes {more}{answer / limit:.2g} of pyhf's time")
    if ours["memory"] > 1.01 * pyhf_.get("memory", math.inf):  # two runs of one program differ by as much
        found.append(f"memory is {ours['memory'] / pyhf_['memory']:.3g} times pyhf's")
    return found


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parameters", nargs="*", type=int, default=[SMALLEST, 20, 50, 100, 218, 500])
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--together", type=int, default=2)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        program, parameters, center = options.one
        report(PROGRAMS[program](int(parameters), float(center)))
        return
    found = table(options.parameters, options.seconds, options.together)
    if options.page is None:
        print(found)
        return
    text = options.page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    options.page.write_text(f"{before}{BEGIN}{found}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
