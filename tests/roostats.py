"""RooStats on a workspace, in a process of its own: a second scan in one process returned nonsense.

Usage: python tests/roostats.py {limit|time|read} FILE ... < JSON. The answers, one for each file, are JSON on standard
output. A file is a ROOT file with a workspace ``w``, or HS3. Those in ``write`` are written first, by the module that
is named, from the model that was chosen: a process of its own for each takes seconds.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import time
import warnings
from typing import Any

BANDS = (-2, -1, 0, 1, 2)

Asked = dict[str, Any]


def load(path: str) -> tuple[Any, Any, Any]:
    """Return the workspace, its ModelConfig and its data."""
    import ROOT

    ROOT.gROOT.SetBatch(True)
    ROOT.RooMsgService.instance().setGlobalKillBelow(ROOT.RooFit.WARNING)
    if path.endswith(".root"):
        file = ROOT.TFile.Open(path)
        workspace = file.Get("w")
        file.Close()
    else:
        workspace = ROOT.RooWorkspace("w")
        if not ROOT.RooJSONFactoryWSTool(workspace).importJSON(path):
            raise OSError(path)
    ROOT.RooMsgService.instance().setGlobalKillBelow(ROOT.RooFit.ERROR)
    data = next(data for data in workspace.allData() if data.GetName() in {"obsData", "asimovData"})
    return workspace, workspace.obj("ModelConfig"), data


class Points:
    """CLs of signal strengths by AsymptoticCalculator: q~ of arXiv:1007.1727, one-sided."""

    def __init__(self, path: str) -> None:
        import ROOT

        self._root = ROOT
        ROOT.Math.MinimizerOptions.SetDefaultMinimizer("Minuit2")
        ROOT.Math.MinimizerOptions.SetDefaultStrategy(0)
        ROOT.RooStats.AsymptoticCalculator.SetPrintLevel(-1)
        self.workspace, self.signal, data = load(path)
        poi = self.signal.GetParametersOfInterest().first()
        self.background = self.signal.Clone("background")
        for config, value in ((self.background, 0.0), (self.signal, 1.0)):
            poi.setVal(value)
            config.SetSnapshot(ROOT.RooArgSet(poi))
        self._calculator = ROOT.RooStats.AsymptoticCalculator(data, self.background, self.signal)
        self._calculator.SetOneSided(True)
        self._calculator.SetQTilde(True)
        self._inverter = ROOT.RooStats.HypoTestInverter(self._calculator)
        self._inverter.UseCLs(True)
        self._inverter.SetVerbose(0)
        self._known: dict[float, list[float]] = {}

    def __call__(self, mu: float) -> list[float]:
        """Return CLs: observed, and expected at -2, -1, 0, 1, 2 standard deviations of the background."""
        if mu not in self._known:
            if not self._inverter.RunOnePoint(mu):
                raise ArithmeticError(f"no p-values at {mu}")
            interval = self._inverter.GetInterval()
            result = interval.GetResult(interval.FindIndex(mu))
            null, other = result.NullPValue(), result.AlternatePValue()
            expected = self._root.RooStats.AsymptoticCalculator.GetExpectedPValues
            self._known[mu] = [result.CLs(), *(expected(null, other, n, True, True) for n in BANDS)]
        return self._known[mu]

    def limit(self, which: int, start: float) -> float:
        """Return where CLs is 0.05: the secant rule on its logarithm, which is nearly straight."""

        def excess(mu: float) -> float:
            return math.log(max(self(mu)[which], 1e-12) / 0.05)

        a, b = 0.97 * start, 1.03 * start
        for _ in range(20):
            slope = (excess(b) - excess(a)) / (b - a)
            a, b = b, min(max(b - excess(b) / slope, 0.5 * b), 2 * b)
            if abs(b - a) < 1e-4 * b:
                return b
        raise ArithmeticError(f"no limit near {b}")


def limit(path: str, asked: Asked) -> Any:
    """Limits, from starts: observed, expected."""
    points = Points(path)
    return [points.limit(which, start) for which, start in enumerate(asked["starts"])]


def timed(path: str, asked: Asked) -> Any:
    """CLs at points and the seconds of each."""
    points, answer = Points(path), []
    points(asked["points"][0] * 0.9)
    for mu in asked["points"]:
        began = time.process_time()
        found = points(mu)
        answer.append([time.process_time() - began, *found])
    return answer


def read(path: str, asked: Asked) -> Any:
    """What is in a workspace, and -log L at the points for this file, each a mapping of names to values."""
    import ROOT

    workspace, config, data = load(path)
    sets = {
        "poi": config.GetParametersOfInterest(), "nuisances": config.GetNuisanceParameters(),
        "globals": config.GetGlobalObservables(), "observables": config.GetObservables(),
    }  # fmt: skip
    found: dict[str, Any] = {
        **{name: sorted(x.GetName() for x in of) for name, of in sets.items()},
        "constant": sorted(x.GetName() for x in workspace.allVars() if x.isConstant()),
        "data": {d.GetName(): [d.numEntries(), d.sumEntries()] for d in workspace.allData()},
        "pdfs": {p.GetName(): p.ClassName() for p in workspace.allPdfs()},
        "values": {v.GetName(): v.getVal() for v in [*workspace.allVars(), *workspace.allFunctions()]},
    }
    nll = config.GetPdf().createNLL(
        data, ROOT.RooFit.GlobalObservables(config.GetGlobalObservables()), ROOT.RooFit.Extended(True)
    )
    found["nll"] = []
    for point in asked["points"][os.path.basename(path)]:  # noqa: PTH119
        for name, value in point.items():
            workspace.var(name).setVal(value)
        found["nll"].append(nll.getVal())
    return found


def write(path: str, module: str, text: str) -> None:
    """Write a file as the process of an export does."""
    from portico.stats.exports.chosen import Chosen
    from portico.stats.exports.roofit_builder import Builder

    chosen = Chosen.from_json(text)
    assert importlib.import_module(module).write(Builder(chosen).workspace, chosen, path)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # ROOT says that it is an alpha
    answer = {"limit": limit, "time": timed, "read": read}[sys.argv[1]]
    question = json.load(sys.stdin)
    sink = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # RooFit prints
    for written in question.pop("write", []):
        write(*written)
    json.dump([answer(path, question) for path in sys.argv[2:]], sink)
    sink.close()
    os._exit(0)  # RooStats may crash while it is taken down
