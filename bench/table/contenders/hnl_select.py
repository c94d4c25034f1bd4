"""The first chunk of the selection of `hnl` in a process that has just started, after its import of ROOT."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import hnl
import portico
from bench.table.inputs import Input
from portico.runfolder.ledger import Ledger

TIME = "import time; began = time.perf_counter(); import ROOT; print(time.perf_counter() - began)"


class Contender:
    """The analysis `hnl` of skimmed files; a session imported what it needs before it asks."""

    IS_READY = True

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        files = "".join(f"        - '{file}'\n" for file in given.files)
        text = (
            f"name: bench\ndataset:\n  samples:\n    events:\n      tree: {given.tree}\n      files:\n{files}"
            "steps:\n  - {name: select, function: 'hnl.select:select'}\n"
        )
        (folder / "analysis.yaml").write_text(text, encoding="utf-8")
        self._analysis, self._folder, self.seconds = portico.load_analysis(folder), folder, 0.0

    def select(self) -> dict[str, list[float]]:
        """Run it in a new process; `seconds` are those of the first chunk without the import of ROOT."""
        with closing(portico.connect(workers=1)) as executor:
            run = portico.run(self._analysis, folder=self._folder / "run", executor=executor, export=False)
        with closing(Ledger(run.path / "ledger.sqlite")) as ledger:
            first = min((metrics for _, _, metrics in ledger.metrics("select")), key=lambda found: found["started"])
        imported = subprocess.run([sys.executable, "-c", TIME], check=True, capture_output=True, text=True).stdout
        self.seconds = first["setup"] + first["wall"] - float(imported)
        results = run["select"]["events"]
        return {name: results[name].values(flow=True).tolist() for name in ("inclusive_Hnl_mass", "inclusive_Ds_mass")}

    def close(self) -> None:
        """Nothing is left open."""


def skimmed(folder: Path) -> Input:
    """Return events of the simulation after the skim of `hnl`, which are made once.

    Parameters
    ----------
    folder : Path
        Where the files of all benchmarks are kept.
    """
    place, sample = folder / "hnl", "signal_m1p0_ctau100"
    if not place.is_dir():
        part = place.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix="portico-bench-") as run:
            analysis = portico.load_analysis(Path(hnl.__file__).parent)
            made = portico.run(analysis, folder=Path(run) / "run", steps=["simulate", "skim"], samples=[sample])
            for file in made["skim"][sample]["wztree"]:
                shutil.copy(file, part)
        part.rename(place)
    return Input("wztree", "RNTuple", tuple(map(str, sorted(place.iterdir()))), 0)
