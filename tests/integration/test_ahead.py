"""Libraries of what selections compile: made beside the work, loaded by later processes, with the bits of cling."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml

import hnl
import portico
from portico import root
from portico.environment import ahead
from portico.environment.library import compiler
from portico.executors.base import Executor
from portico.executors.local import LocalExecutor
from portico.results.partial import decode
from portico.results.product import ProductKind
from portico.runfolder.ledger import Ledger
from tests.integration.test_random_selections import declared_at_random, made_events

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
STEP = """
from pathlib import Path

from portico import step
from portico.selection import book, load_selection

FOLDER = Path(__file__).parent


@step(headers=["own.h"], files=["selection.yaml", "pileup.json"])
def select(frame, sample, *, cuts=None):
    return book(load_selection(FOLDER / "selection.yaml", cuts), frame, sample, folder=FOLDER)
"""
HEADER = """
#ifndef OWN_H
#define OWN_H
namespace own {
inline double shifted(float x, double by) { return abs(x - by) + exp(0.3) * std::sin(x) - std::cos(x) / std::log(3.0); }
}
#endif
"""
ANALYSIS = """
name: ahead
dataset:
  samples:
    s: {{files: [{file}], tree: t, kind: background, cross_section: 1.5, luminosity: 2.0, processed_events: 700}}
steps: [{{name: select, function: 'steps:select', chunk: 250 entries}}]
"""


@pytest.fixture(params=[0, *(pytest.param(n, marks=pytest.mark.full) for n in range(1, 6))])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if compiler() is None:
        pytest.skip("no compiler of C++")
    rng = np.random.default_rng([20261201, request.param])
    files, declared = made_events(rng, tmp_path), declared_at_random(rng)
    declared["corrections"] = {"pileup": {"file": "pileup.json", "name": "pileup_weight", "range": "clamp"}}
    declared["weights"]["of_pileup"] = {"expression": 'pileup(3.0 * n, "nominal")'}
    declared["define"]["C_shifted"] = "own::shifted(C_a, C_b)"
    declared["preselection"]["shifted"] = "C_shifted < 2.5 && C_i != 2"
    declared["histograms"].append({"column": "C_shifted", "bins": 30, "range": [-1, 5], "varied": True})
    (tmp_path / "selection.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
    (tmp_path / "steps.py").write_text(STEP)
    (tmp_path / "own.h").write_text(HEADER)
    shutil.copy(Path(hnl.__file__).parent / "corrections" / "pileup.json", tmp_path)
    (tmp_path / "analysis.yaml").write_text(ANALYSIS.format(file=files["RNTuple"]))
    return tmp_path


def run(folder: Path, name: str, executor: Executor, **options: object) -> dict[str, Any]:
    """Return the result, bit by bit: the bytes of each array, and what is in the tree."""
    analysis = portico.load_analysis(folder / "analysis.yaml").with_options("select", **options)
    made = portico.run(analysis, folder=folder / name, executor=executor)["select"]["s"]
    with closing(Ledger(folder / name / "ledger.sqlite")) as ledger:
        result = ledger.result("select", "s")
    assert result is not None
    found: dict[str, Any] = {}
    for product, content in decode(result).items():
        if content.kind is ProductKind.TREE:  # whose files have a time
            rows = uproot.concatenate([f"{file}:candidates" for file in made[product]])
            found[product] = {column: ak.to_list(ak.nan_to_num(rows[column], nan=-77.0)) for column in rows.fields}
        else:
            found[product] = content.meta, {key: values.tobytes() for key, values in content.arrays.items()}
    return found


def loaded(executor: LocalExecutor, libraries: Path) -> set[str]:
    """Return the libraries of a folder that the process of an executor holds."""
    process = executor._runners[0]._process
    assert process is not None
    maps = Path(f"/proc/{process.pid}/maps").read_text()
    return set(re.findall(rf"{re.escape(str(libraries))}/(\S+\.so)", maps))


def begin(monkeypatch: pytest.MonkeyPatch, *, makes: bool) -> None:
    """Let the next process be a new one, which makes libraries, as by default, or does not."""
    if makes:
        monkeypatch.delenv("PORTICO_AHEAD", raising=False)
    else:
        monkeypatch.setenv("PORTICO_AHEAD", "0")
    monkeypatch.setenv("PORTICO_TEST", uuid.uuid4().hex)


@pytest.fixture
def common() -> list[str]:
    """Names of the libraries that do not depend on a selection."""
    root.load()
    return [ahead.of_table(f"{name}_calls.h").name for name in ("selection", "corrections")]


@pytest.fixture
def libraries(common: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of libraries of its own; those that do not depend on a selection are made once for all tests."""
    kept, own = Path(os.environ["PORTICO_LIBRARIES"]), tmp_path / "libraries"
    own.mkdir(mode=0o700)
    for name in common:
        if (kept / name).exists():
            shutil.copy(kept / name, own)
    monkeypatch.setenv("PORTICO_LIBRARIES", str(own))
    yield own
    kept.mkdir(exist_ok=True, parents=True, mode=0o700)
    for name in common:
        if (own / name).exists() and not (kept / name).exists():
            shutil.copy(own / name, kept)


@pytest.fixture
def at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile with the priority of the tests: with the lowest, other tests would leave it no time."""
    nice = tmp_path / "bin" / "nice"
    nice.parent.mkdir()
    nice.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    nice.chmod(0o755)
    monkeypatch.setenv("PATH", f"{nice.parent}:{os.environ['PATH']}")


def made(libraries: Path, number: int = 4) -> set[str]:
    """Return the names of all libraries, once they are there."""
    deadline = time.monotonic() + 600
    while len(names := {path.name for path in libraries.glob("[!.]*.so")}) < number:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return names


@pytest.mark.full
@pytest.mark.parametrize("on", ["local", "dask"])
@pytest.mark.usefixtures("at_once")
def test_later_processes_load_what_earlier_ones_compiled(
    folder: Path, common: list[str], libraries: Path, monkeypatch: pytest.MonkeyPatch, on: str
) -> None:  # fmt: skip
    begin(monkeypatch, makes=True)
    with closing(portico.connect(on, workers=1)) as executor:
        compiled = run(folder, "cling", executor)
    names = made(libraries)  # also after the process has ended
    begin(monkeypatch, makes=False)
    with closing(LocalExecutor(1)) as executor:
        assert run(folder, "library", executor) == compiled
        assert loaded(executor, libraries) == names
        # Another number in a cut is none of the code, other code is compiled by cling.
        other = run(folder, "number", executor, cuts={"preselection/shifted": "C_shifted < 2.25 && C_i != 1"})
        assert other != compiled
        changed = run(folder, "changed", executor, cuts={"preselection/shifted": "C_shifted < 2.5 + 0 && C_i != 2"})
        assert changed == compiled
        assert loaded(executor, libraries) == names
    for name in names.difference(common):
        (libraries / name).chmod(0o666)  # anybody might have written to it
    begin(monkeypatch, makes=False)
    with closing(LocalExecutor(1)) as executor:
        assert run(folder, "writable", executor) == compiled
        assert loaded(executor, libraries) == set(common)


@pytest.mark.full
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("sources", [False, True])
def test_a_process_takes_the_libraries_that_are_made_while_it_lives(
    folder: Path, common: list[str], libraries: Path, monkeypatch: pytest.MonkeyPatch, sources: bool
) -> None:  # fmt: skip
    if sources:  # whose functions are in a library of the step
        body = HEADER[HEADER.index("inline") : HEADER.rindex("}\n#endif")]
        (folder / "own.h").write_text(HEADER.replace(body, "double shifted(float x, double by);\n"))
        text = body.replace("inline", "").replace("abs(", "std::abs(").replace("exp(", "std::exp(")
        (folder / "own.cc").write_text(f'#include "own.h"\n#include <cmath>\nnamespace own {{\n{text}}}\n')
        (folder / "steps.py").write_text(STEP.replace('"own.h"]', '"own.h"], sources=["own.cc"]'))
    begin(monkeypatch, makes=True)
    with closing(LocalExecutor(1)) as executor:
        run(folder, "first", executor)
        for name in made(libraries, 4 + sources).difference(common):
            (libraries / name).unlink()
    begin(monkeypatch, makes=True)
    with closing(LocalExecutor(1)) as executor:
        compiled = run(folder, "cling", executor)
        names = made(libraries, 4 + sources)
        assert run(folder, "library", executor) == compiled
        found = loaded(executor, libraries)  # that of the sources comes with the step
        assert (len(found), found <= names) == (4, True)


@pytest.mark.parametrize("declared", [False, True])
def test_c_plus_plus_declared_from_python_is_left_to_cling(folder: Path, declared: bool) -> None:
    declaration = 'import ROOT\nROOT.gInterpreter.Declare("double mine(double x) { return x; }")\n'
    use = "from portico.environment import ahead"
    check = f"{use}\n    assert bool(ahead._process.headers) is {not declared}\n    return"
    step = folder / "steps.py"
    step.write_text(STEP.replace("return book", f"{check} book") + (declaration if declared else ""))
    with closing(LocalExecutor(1)) as executor:
        run(folder, "run", executor)


def test_libraries_are_for_processors_on_which_cling_fuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for options, machine, expected in (
        ("-O2", "x86_64", True), ("-O2 -O0", "x86_64", True), ("-O2", "aarch64", False),
        ("-O2 -march=native", "x86_64", False), ("-ffast-math", "x86_64", False),
    ):  # fmt: skip
        monkeypatch.setenv("EXTRA_CLING_ARGS", options)
        monkeypatch.setattr(ahead.platform, "machine", lambda machine=machine: machine)
        assert ahead._has_bits_of_cling() is expected


def test_what_compilers_may_compute_differently_is_left_to_cling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(ahead, "_process", ahead._Process())
    header, odd = tmp_path / "own.h", tmp_path / "odd.h"
    header.write_text(HEADER)
    odd.write_text(HEADER.replace("exp(0.3)", "std::pow(10.0, x)"))
    own = ("choices.h",)
    assert ahead.included(own, "int x;", ()) is None
    ahead.use_headers({header: "1"}, [header])
    assert ahead._process.files == {str(header): HEADER}
    unit = ahead.included(own, "using std::pow; int x;", ())
    assert unit is not None
    assert ahead.included(own, "double f(double x) { return pow(2.0, x); }", ()) is None
    ahead.use_headers({header: "2"}, [header])
    assert ahead.included(own, "using std::pow; int x;", ()) != unit
    ahead.use_headers({header: "1", odd: "1"}, [header, odd])
    assert ahead.included(own, "int x;", ()) is None
