"""C++ sources of a step: compiled once to a library that all processes load, or by each where there is no compiler."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

import portico
from portico.cli import cli
from portico.environment.library import compiler
from portico.errors import PorticoError
from portico.executors.local import LocalExecutor
from tests.conftest import Remember

HEADER = """
#ifndef SQUARE_H
#define SQUARE_H
#include <vector>
namespace mine {
double square(double x);
int &calls();
inline double half(double x) { return 0.5 * x; }
}
#endif
"""
SOURCE = """
#include "../square.h"
#include "factor.icc"
namespace mine {
int &calls() { static int calls = 0; return calls; }
double square(double x) { ++calls(); return factor * x * x; }
}
"""
STEP = """
from portico import step

@step(headers=["square.h"], sources=["source/square.cc"])
def squares(frame, sample):
    import ROOT

    column = frame.Define("y", "mine::half(mine::square(entry))")
    return {"sum": column.Sum("y"), "h": column.Histo1D(("h", "", 10, 0, 100), "y")}
"""
ANALYSIS = """
name: squares
dataset: {samples: {one: {entries: 40}, two: {entries: 30}}}
steps: [{name: squares, function: 'steps:squares', chunk: 10 entries}]
"""
SUMS = {name: sum(3.0 * x * x * 0.5 for x in range(n)) for name, n in {"one": 40, "two": 30}.items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if compiler() is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("PORTICO_LIBRARIES", str(tmp_path / "libraries"))
    (tmp_path / "source").mkdir()
    for name, text in {
        "square.h": HEADER, "source/square.cc": SOURCE, "source/factor.icc": "static const double factor = 3.0;\n",
        "steps.py": STEP, "analysis.yaml": ANALYSIS,
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    return tmp_path


def run(folder: Path, executor: LocalExecutor, name: str = "run") -> tuple[dict[str, float], Remember]:
    reporter = Remember()
    analysis = portico.load_analysis(folder / "analysis.yaml")
    made = portico.run(analysis, folder=folder / name, executor=executor, reporter=reporter)
    return {sample: made["squares"][sample]["sum"] for sample in SUMS}, reporter


@pytest.mark.full
def test_a_library_is_made_once_and_follows_its_sources(folder: Path, local: LocalExecutor) -> None:
    found, reporter = run(folder, local)
    assert found == SUMS
    assert len(reporter.notes) == 1
    assert "compiling source/square.cc" in reporter.notes[0]
    assert run(folder, local, "again")[1].notes == []

    (folder / "source" / "factor.icc").write_text("static const double factor = 6.0;\n")
    found, reporter = run(folder, local)
    assert found == {name: 2.0 * value for name, value in SUMS.items()}
    assert len(reporter.notes) == 1
    assert reporter.ran["squares"] == 7

    (kept,) = sorted((folder / "libraries").glob("*.so"), key=lambda path: path.stat().st_mtime)[:1]
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    (folder / "source" / "factor.icc").write_text("static const double factor = 3.0;\n")
    found, reporter = run(folder, local, "third")
    assert found == SUMS
    assert len(reporter.notes) == 1, "a damaged library is made again"


def test_without_a_compiler_each_process_compiles(
    folder: Path, local: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTICO_CXX", "none")
    found, reporter = run(folder, local)
    assert found == SUMS
    assert reporter.notes == []
    monkeypatch.delenv("PORTICO_CXX")
    found, reporter = run(folder, local)
    assert found == SUMS
    assert reporter.ran["squares"] == 7, "other code, perhaps with other bits"
    monkeypatch.setenv("PORTICO_CXX", "no-such-compiler")
    with pytest.raises(PorticoError, match=r"PORTICO_CXX=no-such-compiler.*PORTICO_CXX=none"):
        run(folder, local)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SOURCE.replace("return factor", "return fcator"), r"source/square\.cc:6 does not compile: .*fcator"),
        (SOURCE.replace("int &calls() {", "int &others() {"), r"use mine::calls\(\), which neither"),
        (SOURCE.replace("factor.icc", "none.icc"), r"square\.cc:3 does not compile: none\.icc"),
    ],
)
def test_what_does_not_compile_is_named(folder: Path, local: LocalExecutor, text: str, words: str) -> None:
    (folder / "source" / "square.cc").write_text(text)
    with pytest.raises(PorticoError, match=words):
        run(folder, local)


def test_nothing_is_loaded_that_another_user_can_write(folder: Path, local: LocalExecutor) -> None:
    libraries = folder / "libraries"
    libraries.mkdir(mode=0o777)
    libraries.chmod(0o777)
    assert run(folder, local)[0] == SUMS
    assert list(libraries.iterdir()) == []
    shutil.rmtree(libraries)
    run(folder, local, "again")
    (kept,) = libraries.glob("*.so")
    assert kept.stat().st_mode & 0o022 == 0
    if os.getuid() == 0:
        os.chown(kept, 1234, 1234)
        assert len(run(folder, local, "third")[1].notes) == 1, "the file of another user is not used"


def test_results_are_written_again_by_a_process_that_holds_nothing(folder: Path, local: LocalExecutor) -> None:
    assert run(folder, local)[0] == SUMS
    (folder / "run" / "squares" / "results.root").unlink()
    with closing(LocalExecutor(1)) as other:
        found, reporter = run(folder, other)
    assert (found, reporter.ran["squares"]) == (SUMS, 0)
    assert (folder / "run" / "squares" / "results.root").is_file()


def test_a_dry_run_lists_sources_that_do_not_compile(folder: Path) -> None:
    (folder / "source" / "square.cc").write_text(SOURCE.replace("return factor", "return fcator"))
    shown = CliRunner().invoke(cli, ["run", str(folder), "--dry-run"])
    assert shown.exit_code != 0
    assert "Traceback" not in shown.output
    assert re.search(r"squares.*source/square\.cc:6 does not compile", shown.output), shown.output


def test_a_source_that_is_missing_is_named(folder: Path, local: LocalExecutor) -> None:
    (folder / "source" / "square.cc").unlink()
    with pytest.raises(PorticoError, match=r"no C\+\+ file .*source/square\.cc"):
        run(folder, local)
