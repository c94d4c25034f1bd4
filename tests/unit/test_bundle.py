"""The bundle of a step: its contents, and the changes that its digests see."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from portico.environment.bundle import Bundle, collect
from portico.errors import ConfigError

MODULE = '''"""A module."""
import cuts
from portico import step

@step(headers=["include/a.h"], files=["data"])
def skim(frame, sample, *, threshold=2.0):
    """Do it."""
    return cuts.apply(frame, threshold)  # a comment
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "include").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "skim.py").write_text(MODULE)
    (tmp_path / "cuts.py").write_text("import os\n\ndef apply(frame, threshold):\n    return {}\n")
    (tmp_path / "unrelated.py").write_text("x = 1\n")
    (tmp_path / "include" / "a.h").write_text('#pragma once\n#include "b.h"\n#include <vector>\n')
    (tmp_path / "include" / "b.h").write_text("#pragma once\n")
    (tmp_path / "data" / "table.json").write_text("{}")
    return tmp_path


def bundle(folder: Path) -> Bundle:
    return collect("skim:skim", folder)


def test_all_that_the_step_needs_travels_and_nothing_else(folder: Path) -> None:
    found = bundle(folder)
    with zipfile.ZipFile(io.BytesIO(found.archive)) as archive:
        names = sorted(archive.namelist())
    assert names == ["cuts.py", "data/table.json", "include/a.h", "include/b.h", "skim.py"]
    assert found.options == ("threshold",)
    assert list(found.headers) == ["include/a.h"]
    assert bundle(folder).archive == found.archive


@pytest.mark.parametrize(
    ("file", "text", "counts"),
    [
        ("unrelated.py", "x = 2\n", False),
        ("cuts.py", "import os\n# note\n\ndef apply(frame,   threshold):\n    'says'\n    return {}\n", False),
        ("skim.py", MODULE.replace("# a comment", "# another"), False),
        ("skim.py", MODULE.replace("2.0", "3.0"), True),
        ("cuts.py", "def apply(frame, threshold):\n    return {'n': frame.Count()}\n", True),
        ("include/b.h", "#pragma once\nint f();\n", True),
        ("data/table.json", "[]", True),
    ],
)
def test_what_counts_as_a_change(folder: Path, file: str, text: str, counts: bool) -> None:
    before = bundle(folder)
    (folder / file).write_text(text)
    assert (bundle(folder).code != before.code) == counts


def test_a_header_changes_with_what_it_includes(folder: Path) -> None:
    before = bundle(folder)
    (folder / "include" / "b.h").write_text("int g();\n")
    assert bundle(folder).headers["include/a.h"] != before.headers["include/a.h"]


def test_a_package_brings_its_own_modules(tmp_path: Path) -> None:
    package = tmp_path / "search"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "skim.py").write_text(
        "from . import cuts\nfrom .sub import more\ndef f(frame, sample):\n    return {}\n"
    )
    (package / "cuts.py").write_text("")
    (package / "sub.py").write_text("more = 1\n")
    found = collect("search.skim:f", tmp_path)
    assert sorted(found.members) == ["search/__init__.py", "search/cuts.py", "search/skim.py", "search/sub.py"]
    assert "hnl/skim.py" in collect("hnl.skim:skim", tmp_path).members


@pytest.mark.parametrize(
    ("function", "text", "words"),
    [
        ("skim", None, "module:function"),
        ("skimm:skim", None, "did you mean 'skim'"),
        ("skim:skin", None, "did you mean 'skim'"),
        ("select:f", None, "rename select.py"),
        ("skim:skim", "def skim(:\n", "not valid Python"),
        ("skim:skim", "def skim(frame):\n    return {}\n", r"skim\(frame, sample"),
        ("skim:skim", "@points()\ndef skim(points, frame): ...\n", r"skim\(point, \*, "),
        ("skim:skim", "@points(headers=['a.h'])\ndef skim(point): ...\n", r"@points of 'skim:skim' takes files="),
        ("skim:skim", MODULE.replace("include/a.h", "include/c.h"), "no C\\+\\+ file"),
        ("skim:skim", MODULE.replace('["data"]', "NAMES"), "lists of strings"),
        ("skim:skim", MODULE.replace('["data"]', '["nothing"]'), "no file"),
        ("skim:skim", MODULE.replace('["data"]', '["../../outside"]'), "no file|outside"),
    ],
)
def test_what_is_missing_is_named(folder: Path, function: str, text: str | None, words: str) -> None:
    if text is not None:
        (folder / "skim.py").write_text(text)
    with pytest.raises(ConfigError, match=words):
        collect(function, folder)


def test_a_step_over_points_and_the_function_that_lists_them(folder: Path) -> None:
    text = "@portico.points(files=['data'])\ndef scan(point, *, cl): ...\ndef grid(*, masses): ...\n"
    (folder / "scan.py").write_text(text)
    scan, grid = collect("scan:scan", folder), collect("scan:grid", folder, "list")
    assert (scan.needs.kind, scan.needs.files, scan.options) == ("points", ("data",), ("cl",))
    assert (grid.needs.kind, grid.options) == ("list", ("masses",))
    with pytest.raises(ConfigError, match=r"grid\(frame, sample, "):
        collect("scan:grid", folder)
