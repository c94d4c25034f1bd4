"""C++ that steps declare from Python, and state that they leave behind, in processes that live on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import portico
from portico.analysis.analysis import Analysis, load_analysis
from portico.errors import StepError
from portico.executors.local import LocalExecutor
from tests.conftest import Remember, numbers_of

STEP = """
import ROOT

{code}


def {name}(frame, sample):
    frame = frame.Define("y", {expression})
    return {{"y": frame.Stats("y"), "h": frame.Histo1D(("h", "", 5, 0, 100), "x", "w")}}
"""


@pytest.fixture
def one() -> Iterator[LocalExecutor]:
    executor = LocalExecutor(1)
    yield executor
    executor.close()


@pytest.fixture
def write(tmp_path: Path, events: Path) -> Callable[..., Analysis]:
    """Return a function that writes an analysis whose steps are modules of their own, each with its text of C++."""

    def make(steps: dict[str, tuple[str, str]], **files: str) -> Analysis:
        folder = tmp_path / "analysis"
        for name, (code, expression) in steps.items():
            path = folder / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(STEP.format(name=name, code=code, expression=expression))
        for name, text in files.items():
            path = folder / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        lines = "\n".join(f"  - {{name: {name}, function: '{name}:{name}'}}" for name in steps)
        (folder / "analysis.yaml").write_text(
            f"name: test\nchunk: 50 entries\ndataset:\n  samples:\n    a: {{files: '{events}/events0.root'}}\n"
            f"steps:\n{lines}\n"
        )
        return load_analysis(folder)

    return make


def declare(text: str) -> str:
    return f"ROOT.gInterpreter.Declare({text!r})"


def value(run: portico.Run, step: str) -> float:
    """Return the one value that a step's expression has in all chunks."""
    found = run[step]["a"]["y"]
    assert found["min"] == found["max"]
    return float(found["min"])


MIXED = """
import os

import cppyy
import helper

ROOT.gInterpreter.Declare("template <typename T> double change(T x) { return 1; }")
ROOT.gInterpreter.Declare('#include "include/outer.h"')
ROOT.gROOT.LoadMacro("macros/three.C")
ROOT.gApplication.ProcessLine(".L macros/four.C")
cppyy.include("include/five.h")
cppyy.cppdef("double six() { return 1e5; }")
ROOT.gInterpreter.Declare('double eight() { return std::atof(std::getenv("EIGHT")); }')
if not hasattr(ROOT, "seven"):
    ROOT.gInterpreter.Declare("double seven() { return SEVEN; }")
"""
EXPRESSION = "'change(x) + inner() + three() + four() + five() + six() + seven() + eight()'"
FILES = {
    "helper_dot_py": f"import ROOT\n\n{declare('template <typename T> double change(T x) { return 1; }')}\n",
    "include__outer_dot_h": '#pragma once\n#include "../shared/link.h"\n',
    "shared__real_dot_h": '#pragma once\n#include "../../beside/inner.h"\n#include "../include/five.h"\n',
    "include__five_dot_h": "#pragma once\ninline double five() { return 1e4; }\n",
    "macros__three_dot_C": "double three() { return 100; }\n",
    "macros__four_dot_C": "double four() { return 1000; }\n",
}


@pytest.mark.full
def test_steps_and_versions_declare_one_name_differently(
    write: Callable[..., Analysis], one: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, inner = tmp_path / "analysis" / "shared" / "link.h", tmp_path / "beside" / "inner.h"
    for file in (link, inner):
        file.parent.mkdir(parents=True)
    link.symlink_to("real.h")

    def make(ten: str, seven: str, eight: str, **files: str) -> Analysis:
        inner.write_text(f"inline double inner() {{ return {ten}; }}\n")
        monkeypatch.setenv("EIGHT", eight)
        return write({
            "adds": ("ROOT.EnableImplicitMT(2)\n" + declare("double change(double x) { return 5; }"), "'change(x)'"),
            "other": (declare("double change(double x) { return 7; }"), "'change(x)'"),
            "mixed": (MIXED.replace("SEVEN", seven), EXPRESSION),
        }, **FILES | files)  # fmt: skip

    reporter = Remember()
    run = portico.run(make("10", "1e6", "1e7"), folder=tmp_path / "run", executor=one, reporter=reporter)
    assert [value(run, step) for step in ("adds", "other", "mixed")] == [5, 7, 11_111_111]
    threaded, plain = numbers_of(run, "adds"), numbers_of(run, "other")
    assert [key for key in plain if "/h/" in key and plain[key] != threaded[key]] == []
    (warning,) = reporter.warnings
    assert "adds.py:4: implicit multithreading" in warning
    edited = make("20", "2e6", "2e7", macros__four_dot_C="double four() { return 2000; }\n")
    run = portico.run(edited, folder=tmp_path / "run", executor=one, reporter=reporter)
    assert (value(run, "mixed"), reporter.ran) == (22_112_121, {"adds": 0, "other": 0, "mixed": 5})


def test_a_declaration_that_fails_is_the_users_error(
    write: Callable[..., Analysis], single: LocalExecutor, tmp_path: Path
) -> None:
    analysis = write({"wrong": (declare("double change(double x) { return y; }"), "'change(x)'")})
    with pytest.raises(StepError, match=r"wrong\.py:4 .*does not compile: use of undeclared identifier 'y'"):
        portico.run(analysis, folder=tmp_path / "run", executor=single)
    (tmp_path / "x.h").write_text("\n")
    computed = f"NAME = {str(tmp_path / 'x.h')[::-1]!r}[::-1]\nROOT.gInterpreter.Declare(f'#include \"{{NAME}}\"')"
    with pytest.raises(StepError, match=r"x\.h is not among the files.*headers="):
        portico.run(write({"wrong": (computed, "'x'")}), folder=tmp_path / "run", executor=single)
    hidden = "import importlib\nhelper = importlib.import_module('help' + 'er')"
    with pytest.raises(StepError, match=r"No module named 'helper'.*only if an import statement names it"):
        portico.run(write({"wrong": (hidden, "'x'")}, helper_dot_py=""), folder=tmp_path / "run", executor=single)
    aliased = "import portico\nNAMES = ['scale.h']\nneeds = lambda f: portico.step(headers=NAMES)(f)\n"
    analysis = write({"wrong": (aliased, "'x'")}, scale_dot_h="\n")
    path = analysis.folder / "wrong.py"
    path.write_text(path.read_text().replace("def wrong", "@needs\ndef wrong"))
    with pytest.raises(StepError, match=r"decorator of 'wrong:wrong' declares headers=\['scale\.h'\]"):
        portico.run(analysis, folder=tmp_path / "run", executor=single)


STATE = """
count = 0
seen = []


def counted():
    global count
    count += 1
    seen.append(count)
    return count + ROOT.gRandom.Integer(1000)
"""


def test_chunks_leave_nothing_behind(write: Callable[..., Analysis], single: LocalExecutor, tmp_path: Path) -> None:
    reporter = Remember()
    analysis = write({"counting": (declare("double half() { return 0.5; }") + STATE, "f'{counted()} * half()'")})
    run = portico.run(analysis, folder=tmp_path / "run", executor=single, reporter=reporter)
    assert value(run, "counting") >= 0.5
    words = ("'count' of module 'counting'", "'seen' of module 'counting'", "ROOT.gRandom")
    assert [sum(word in text for text in reporter.warnings) for word in words] == [1, 1, 1]
    assert len(reporter.warnings) == 3


PYTHON = """
import ROOT


def change(x):
    return VALUE + 0.0 * x


def NAME(frame, sample):
    frame = frame.Define("y", change, ["x"])
    return {"y": frame.Stats("y")}
"""


@pytest.mark.full
def test_macros_and_defaults_of_root_are_those_of_the_step(
    write: Callable[..., Analysis], one: LocalExecutor, tmp_path: Path
) -> None:
    macro = "m = ROOT.TMacro('m')\nm.AddLine('double change(double x) {{ return {}; }}')\nm.Load()"
    defaults = "ROOT.TH1.SetDefaultSumw2()\nROOT.TH1.StatOverflows()"
    shown = "'10 * TH1::GetDefaultSumw2() + portico::CountsOverflows() + 0. * x'"
    steps = {"five": (macro.format(5), "'change(x)'"), "seven": (macro.format(7), "'change(x)'")}
    analysis = write(steps | {"changed": (defaults, shown), "plain": ("", shown)})
    run = portico.run(analysis, folder=tmp_path / "run", executor=one)
    assert {step: value(run, step) for step in run} == {"five": 5, "seven": 7, "changed": 11, "plain": 0}


@pytest.mark.full
def test_libraries_and_functions_of_python(write: Callable[..., Analysis], one: LocalExecutor, tmp_path: Path) -> None:
    library = "ROOT.gROOT.LoadMacro('three.C+')\nROOT.gROOT.LoadMacro('loads.C')"
    numba = "@ROOT.Numba.Declare(['double'], 'double')\ndef change(x):\n    return VALUE + 0.0 * x"

    def found(three: str) -> list[float]:
        analysis = write({
            "compiled": (library, "'three() + loaded()'"),
            "first": ("", ""), "second": ("", ""),
            "third": (numba.replace("VALUE", "3"), "'Numba::change(x)'"),
            "fourth": (numba.replace("VALUE", "4"), "'Numba::change(x)'"),
        }, three_dot_C=f"double three() {{ return {three}; }}\n",
           loads_dot_C='#include "one.h"\ndouble loaded() { return one(); }\n',
           one_dot_h="inline double one() { return 1; }\n",
        )  # fmt: skip
        for name, number in (("first", "1.0"), ("second", "2.0")):
            (analysis.folder / f"{name}.py").write_text(PYTHON.replace("NAME", name).replace("VALUE", number))
        run = portico.run(analysis, folder=tmp_path / "run", executor=one)
        return [value(run, step) for step in ("compiled", "first", "second", "third", "fourth")]

    assert found("3") == [4, 1, 2, 3, 4]
    assert found("5") == [6, 1, 2, 3, 4]
