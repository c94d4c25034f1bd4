"""Code that is collected again: what was found before counts only while the same would be found."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portico.environment import bundle, looked
from portico.environment.bundle import Bundle, collect

CODE = """
import ROOT

import helper
import numpy
from portico import step

ROOT.gInterpreter.Declare('#include "late.h"')


@step(headers=["a.h"], files=["tables"])
def fill(frame, sample):
    import os

    return helper.fill(frame, os.environ.get("SCALE"))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    analysis, here = tmp_path / "analysis", tmp_path / "here"
    for made in (analysis, here, analysis / "tables" / "deep"):
        made.mkdir(parents=True)
    (analysis / "mysteps.py").write_text(CODE)
    (analysis / "helper.py").write_text("import other.part\n\n\ndef fill(frame, scale): ...\n")
    (analysis / "a.h").write_text('#include "b.h"\n')
    (analysis / "b.h").write_text("int b();\n")
    (analysis / "tables" / "deep" / "t.json").write_text("{}")
    monkeypatch.chdir(here)
    monkeypatch.setattr(bundle, "_kept", looked.Kept())
    monkeypatch.setattr(looked, "_SETTLED", float("-inf"))  # files of a test are new, and change their size
    return analysis


def again(folder: Path) -> tuple[Bundle, bool]:
    """Return what is collected, and whether the files were read again."""
    before = collect("mysteps:fill", folder)
    found = collect("mysteps:fill", folder)
    return found, found is not before


EDITS: dict[str, Callable[[Path], object]] = {
    "the module": lambda folder: (folder / "mysteps.py").write_text(CODE + "\nA = 1\n"),
    "what it imports": lambda folder: (folder / "helper.py").write_text("def fill(frame, scale): return {}\n"),
    "a header that a header includes": lambda folder: (folder / "b.h").write_text("int b(int);\n"),
    "a file in a folder": lambda folder: (folder / "tables" / "deep" / "t.json").write_text("{ }"),
    "a new file in a folder": lambda folder: (folder / "tables" / "deep" / "u.json").write_text("{}"),
    "a file that is gone": lambda folder: (folder / "tables" / "deep" / "t.json").unlink(),
    "a module in place of an installed one": lambda folder: (folder / "numpy.py").write_text("x = 1\n"),
    "a package that was missing": lambda folder: ((folder / "other").mkdir(), (folder / "other/part.py").touch()),
    "a header that was missing": lambda folder: (folder / "late.h").write_text("int late();\n"),
    "a header in the working directory": lambda folder: (folder.parent / "here/late.h").write_text("int late();\n"),
    "a header elsewhere, by a link": lambda folder: (folder / "late.h").symlink_to(folder / "b.h"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_whatever_changes_is_found(folder: Path, edit: str) -> None:
    before, was_read = again(folder)
    assert not was_read
    EDITS[edit](folder)
    after, _ = again(folder)
    assert after.digest != before.digest
    assert after == bundle._collect("mysteps:fill", folder, "frame")


def test_environment_and_working_directory_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = again(folder)
    monkeypatch.setenv("SCALE", "2")
    after, _ = again(folder)
    assert after.variables == {"SCALE": "2"}
    assert after.code != before.code
    (folder / "late.h").write_text("int late();\n")
    monkeypatch.chdir(folder)
    assert "late.h" in again(folder)[0].members


def test_what_has_just_changed_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looked, "_SETTLED", 2.0)
    assert again(folder)[1]  # a second change of the same size might have the same time
    later = time.time() + 3
    monkeypatch.setattr(looked.time, "time", lambda: later)
    again(folder)
    assert not again(folder)[1]
