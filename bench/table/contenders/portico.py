"""Portico on processes of this machine: an RDataFrame step, or a declared selection."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.table.analysis import steps
from bench.table.inputs import Input
from portico import connect, load_analysis, session


class Contender:
    """Workers, and sessions on them."""

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        self._folder, self._session, self._number = folder, None, 0
        self._analysis = analysis(given, folder / "analysis")
        self._executor = self._connect(workers)

    def _connect(self, workers: int) -> Any:
        return connect("local", workers)

    def best(
        self, step: str = "declared", pt: float = 7.5, bins: int = 64, rule: str = "mass", *, cache: bool = False,
        again: bool = False,
    ) -> dict[str, list[float]]:  # fmt: skip
        """Run the query in a session, in which columns are kept with ``cache``: in the last one with ``again``."""
        if not again:
            self._end()
            self._number += 1
            place = self._folder / f"run{self._number}"
            self._session = session(self._analysis, folder=place, executor=self._executor, cache=cache)
        options = declared(pt, bins, rule) if step == "declared" else {"pt": pt, "bins": bins, "rule": rule}
        found = self._session.fill(f"best_{step}", **options)["events"]
        prefix = "inclusive_" if step == "declared" else ""
        names = {name: prefix + (name.removeprefix("C_") if prefix else name) for name in steps.AXES}
        return {name: found[product].values(flow=True).tolist() for name, product in names.items()}

    def _end(self) -> None:
        if self._session is not None:
            self._session.close()

    def close(self) -> None:
        """End the session and the workers."""
        self._end()
        self._executor.close()


def analysis(given: Input, folder: Path) -> Any:
    """Write and load the analysis of these files."""
    shutil.copytree(steps.FOLDER, folder, ignore=shutil.ignore_patterns("__*"))
    names = ("best_free", "best_declared")
    listed = "".join(f"  - {{name: {name}, function: 'steps:{name}'}}\n" for name in names)
    files = "".join(f"        - '{file}'\n" for file in given.files)
    samples = f"  samples:\n    events:\n      tree: {given.tree}\n      files:\n{files}"
    text = f"name: bench\ndataset:\n{samples}steps:\n{listed}"
    (folder / "analysis.yaml").write_text(text, encoding="utf-8")
    return load_analysis(folder)


def declared(pt: float, bins: int, rule: str) -> Mapping[str, Any]:
    """Return what changes in the declared selection."""
    options: dict[str, Any] = {}
    if pt != 7.5:
        options["cuts"] = {"preselection/pt": f"C_mu_Ds_pt > {pt}"}
    if bins != 64:
        options["histograms"] = {name.removeprefix("C_"): {"bins": bins} for name in steps.AXES}
    if rule != "mass":
        options["switch"] = {"rules/mass": False, f"rules/{rule}": True}
    return options
