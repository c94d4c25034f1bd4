"""Tools for tests of the simulation: events of a range of entries, and their comparison bit for bit."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import awkward as ak
import uproot

import hnl.simulate as module
from portico.worker.in_process import load_cpp

HEADERS = Path(module.__file__).parent / "include"
DESCRIPTION = json.loads((module.FOLDER / "pools.json").read_text(encoding="utf-8"))


def load(functions: str = "") -> Any:
    """Declare the simulation and more C++ to ROOT, and read the pools."""
    ROOT = load_cpp("hnl.simulate:simulate", HEADERS)
    if functions:
        assert ROOT.gInterpreter.Declare(f'#include "{HEADERS / "event.h"}"')
        assert ROOT.gInterpreter.Declare(functions)
    ROOT.hnl.load_pools(str(module.FOLDER))
    return ROOT


def make(root, folder, parameters, first, last, kind="signal", written_as="rntuple"):
    """Simulate a range of entries with a plain, eager RDataFrame; return the events and the products."""
    folder.mkdir()
    frame = root.RDataFrame(last - first).Define("entry", f"(ULong64_t)(rdfentry_ + {first})")
    before = Path.cwd()
    os.chdir(folder)
    try:
        sample = SimpleNamespace(name="test", kind=kind, parameters=parameters)
        products = module.simulate(frame, sample, format=written_as)
        passed = products["cutflow"].At("trigger fired").GetPass()
        sums = {"generated": products["generated"].GetValue(), "passed": passed}
    finally:
        os.chdir(before)
    with uproot.open(folder / "events.root") as file:
        return file["events"].arrays(), sums


def numbers(column: Any) -> Any:
    """Return all numbers of a column, in order."""
    return ak.to_numpy(ak.flatten(column, axis=None))


def assert_same(left: Any, right: Any) -> None:
    """Two sets of events are equal bit for bit."""
    assert left.fields == right.fields
    for field in left.fields:
        if left[field].ndim > 1:
            assert ak.to_list(ak.num(left[field])) == ak.to_list(ak.num(right[field])), field
        assert numbers(left[field]).tobytes() == numbers(right[field]).tobytes(), field
