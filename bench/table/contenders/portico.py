"""Portico on processes of this machine: an RDataFrame step, or a declared selection."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.table.adl import steps as adl
from bench.table.analysis import steps
from bench.table.inputs import Input
from portico import connect, load_analysis, session
from portico.runfolder.ledger import Ledger


class Contender:
    """Workers, and sessions on them."""

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        self._folder, self._session, self._number, self._step = folder, None, 0, ""
        self._analysis = analysis(given, folder / "analysis")
        self._executor = self._connect(workers)

    def _connect(self, workers: int) -> Any:
        return connect("local", workers)

    def best(
        self, step: str = "declared", pt: float = 7.5, bins: int = 64, rule: str = "mass", *, cache: bool = False,
        again: bool = False,
    ) -> dict[str, list[float]]:  # fmt: skip
        """Run the query in a session, in which columns are kept with ``cache``: in the last one with ``again``."""
        options = declared(pt, bins, rule) if step == "declared" else {"pt": pt, "bins": bins, "rule": rule}
        found = self._fill(f"best_{step}", options, cache=cache, again=again)
        prefix = "inclusive_" if step == "declared" else ""
        names = {name: prefix + (name.removeprefix("C_") if prefix else name) for name in steps.AXES}
        return {name: found[product].values(flow=True).tolist() for name, product in names.items()}

    def adl(self, query: str, *, cache: bool = False) -> dict[str, list[float]]:
        """Run a query of the ADL benchmark in a session of its own."""
        found = self._fill(query, {}, cache=cache, again=False)
        prefix = "inclusive_" if query in adl.DECLARED else ""
        return {name: found[prefix + name].values(flow=True).tolist() for name in adl.HISTOGRAMS[query]}

    def _fill(self, step: str, options: Mapping[str, Any], *, cache: bool, again: bool) -> Any:
        if not again:
            self._end()
            self._number += 1
            place = self._folder / f"run{self._number}"
            self._session = session(self._analysis, folder=place, executor=self._executor, cache=cache)
        self._step = step
        return self._session.fill(step, **options)["events"]

    def work(self, since: float) -> float:
        """Return the CPU seconds that the chunks since a time took on their workers."""
        with closing(Ledger(self._session.folder / "ledger.sqlite")) as ledger:
            found = [metrics for _, _, metrics in ledger.metrics(self._step)]
        return sum(metrics["cpu"] for metrics in found if metrics["started"] >= since)

    def _end(self) -> None:
        if self._session is not None:
            self._session.close()

    def close(self) -> None:
        """End the session and the workers."""
        self._end()
        self._executor.close()


def analysis(given: Input, folder: Path) -> Any:
    """Write and load the analysis of these files."""
    of = adl if given.kind == "nano" else steps
    shutil.copytree(of.FOLDER, folder, ignore=shutil.ignore_patterns("__*"))
    if of is adl:
        functions = {query: "declared" if query in adl.DECLARED else "free" for query in adl.HISTOGRAMS}
        entries = [f"name: {q}, function: 'steps:{name}', options: {{query: {q}}}" for q, name in functions.items()]
    else:
        entries = [f"name: {name}, function: 'steps:{name}'" for name in ("best_free", "best_declared")]
    listed = "".join(f"  - {{{entry}}}\n" for entry in entries)
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
