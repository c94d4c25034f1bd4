"""The tiny analysis of the storms, what all of its results say, and run folders in several states to begin from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uproot

import portico
from portico.analysis.analysis import Analysis, load_analysis
from portico.executors.local import LocalExecutor
from tests.conftest import Remember, numbers_of, write_events
from tests.faulty import mounted

__all__ = ["CUTS", "Bench", "everything", "files_agree", "listing"]

CUTS = (41, 42)
"""Two values of the cut: the second is the current one of a run folder that holds both."""

_CODE = """
import numpy as np

from portico import points, summary


def skim(frame, sample, *, cut=41):
    kept = frame.Filter(f"x > {cut / 20}", "cut")
    return {"tree": kept.Snapshot("kept", "kept.root", ["x", "w"]), "cutflow": kept.Report()}


def fill(frame, sample):
    return {"x": frame.Histo1D(("x", ";x;events", 20, 0.0, 20.0), "x", "w")}


@summary
def total(results, samples):
    values = {name: float(r["x"].sum().value) for name, r in results.items()}
    return {"n": values, "table": {"n": np.array(list(values.values()))}, "card.txt": f"{values}"}


def grid():
    return [{"mass": mass} for mass in (1.0, 2.0, 4.0)]


@points()
def scan(point):
    return {"double": 2 * point["mass"]}
"""
_STEPS = """
  - {name: skim, function: "mysteps:skim", options: {cut: 41}, chunk: 50 entries}
  - {name: fill, function: "mysteps:fill", input: skim}
  - {name: total, function: "mysteps:total", input: fill}
  - {name: scan, function: "mysteps:scan", points: "mysteps:grid"}
"""


_DRIVER = """
import os
import sys
if not os.environ.get("FAULTY_WORKERS"):
    os.environ.pop("LD_PRELOAD")  # the driver alone
import portico
analysis = portico.load_analysis(sys.argv[1]).with_options("skim", cut=int(sys.argv[3]))
try:
    portico.run(analysis, folder=sys.argv[2], workers=1)
except portico.PorticoError as error:
    sys.exit(f"error: {error}")
except BaseException:
    import traceback
    traceback.print_exc()
    sys.exit(3)
"""
_MOST = 300  # seconds of such a run


class _Stop(Exception):
    """Ends a run after some of its chunks."""


@dataclass(slots=True)
class Bench:
    """An analysis, what its results are, and run folders that copies are made of.

    Parameters
    ----------
    place : Path
        Where all of it lies.
    executor : LocalExecutor
        Runs it.
    """

    place: Path
    executor: LocalExecutor
    analysis: Analysis = field(init=False)
    expected: dict[int, dict[str, Any]] = field(default_factory=dict)
    templates: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        source = self.place / "analysis"
        source.mkdir(parents=True)
        for name, seed in (("a", 1), ("b", 2)):
            write_events(source / f"{name}.root", np.random.default_rng(seed), 100, clusters=2)
        samples = "\n".join(f'    {name}: {{files: "{source}/{name}.root"}}' for name in "ab")
        (source / "mysteps.py").write_text(_CODE)
        (source / "analysis.yaml").write_text(f"name: storm\ndataset:\n  samples:\n{samples}\nsteps:{_STEPS}")
        self.analysis = load_analysis(source)
        for cut in CUTS:
            self.expected[cut] = everything(self.run(self.place / f"quiet{cut}", cut))
        self.templates["whole"] = self.place / "quiet41"
        both = self.templates["both"] = self.place / "both"
        for cut in CUTS:
            self.run(both, cut)
        self.templates["begun"] = self._begun(self.place / "begun")

    def _begun(self, folder: Path) -> Path:
        def stop(advanced: int) -> None:
            if advanced == 3:
                raise _Stop

        with suppress(_Stop):
            self.run(folder, CUTS[0], Remember(stop))
        return folder

    def run(self, folder: Path, cut: int, reporter: Remember | None = None, **options: Any) -> portico.Run:
        """Run the analysis with a cut."""
        analysis = self.analysis.with_options("skim", cut=cut)
        return portico.run(analysis, folder=folder, executor=self.executor, reporter=reporter, **options)

    @contextmanager
    def copy(self, template: str, name: str, on_small_disk: bool = False) -> Iterator[Path]:
        """Yield a copy of a run folder under another name, in an empty folder of its own, perhaps on a small disk."""
        above = self.place / name
        shutil.rmtree(above, ignore_errors=True)
        with mounted(above, "size=20m") if on_small_disk else nullcontext():
            shutil.copytree(self.templates[template], above / "run", symlinks=True)
            yield above / "run"
        shutil.rmtree(above, ignore_errors=True)

    def run_elsewhere(self, folder: Path, cut: int, environment: dict[str, str]) -> tuple[int | None, str]:
        """Run the analysis with a cut in a process of its own; return its status, None if it hangs, and its error."""
        command = [sys.executable, "-c", _DRIVER, str(self.analysis.folder), str(folder), str(cut)]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=_MOST)
        except subprocess.TimeoutExpired:
            return None, ""
        return done.returncode, done.stderr


def everything(run: portico.Run) -> dict[str, Any]:
    """Return all that a run says: numbers, trees, summary, points, as bytes or plain values."""
    found: dict[str, Any] = {"total": run.summary("total"), "card": run.file("total", "card.txt").read_text()}
    for step in ("skim", "fill", "scan"):
        found |= numbers_of(run, step)
        found |= {f"{step}/{s}/{n}": p.items for s, r in run[step].items() for n, p in r.products.items()
                  if p.items and n != "tree"}  # fmt: skip
    for sample, results in run["skim"].items():
        found[sample] = b"".join(_columns(Path(path)) for path in results["tree"])
    return found


def _columns(path: Path) -> bytes:
    with uproot.open(path) as file:
        return b"".join(np.asarray(file["kept"][name].array(library="np")).tobytes() for name in ("x", "w"))


def files_agree(run: portico.Run, expected: dict[str, Any]) -> list[str]:
    """Return where what lies in the folders of a finished run is not what its results say, for those who use a glob."""
    wrong: list[str] = []
    for sample in ("a", "b"):
        there = sorted(path for path in (run.path / "skim" / sample).glob("*.root") if path.is_file())
        if b"".join(_columns(path) for path in there) != expected[sample]:
            wrong.append(f"skim/{sample}/*.root holds other events: {[path.name for path in there]}")
        for name in ("skim/results.json", f"skim/{sample}/manifest.json"):
            content = json.loads((run.path / name).read_text())
            items = (content["samples"][sample] if "samples" in content else content)["tree"]["files"]
            for item in items:
                path = run.path / item["path"]
                if not path.is_relative_to(run.path) or Path(item["path"]).is_absolute():
                    wrong.append(f"{name}: names {item['path']}")
                if not path.is_file():
                    wrong.append(f"{name}: {item['path']} is not there")
                elif f"{zlib.adler32(path.read_bytes()):08x}" != item["adler32"]:
                    wrong.append(f"{name}: keeps an old checksum of {item['path']}")
            if [run.path / item["path"] for item in items] != there:
                wrong.append(f"{name}: lists other files than are there")
    with uproot.open(run.path / "fill" / "results.root") as file:
        for sample, results in run["fill"].items():
            if file[f"{sample}/x"].values(flow=True).tobytes() != results["x"].values(flow=True).tobytes():
                wrong.append(f"results.root: {sample}/x differs")
    if json.loads((run.path / "total" / "summary.json").read_text()) != expected["total"]:
        wrong.append("total/summary.json differs")
    return wrong


def listing(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return inode, times, and content of everything in a folder, to see whether anybody touched it."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else os.strerror(0)
        found[str(path.relative_to(folder))] = status.st_ino, status.st_mtime_ns, status.st_mode, content
    return found
