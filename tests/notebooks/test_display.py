"""Progress in a notebook: HTML in one place, without widgets."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tests.notebooks.executed import errors, execute, said, widgets

BEGUN = """
import time
import portico

progress = portico.Progress()
progress.begin("skim", {"a<b": 3000, "c": 1000}, {}, 2)
progress.advance("c", 500)
time.sleep(0.6)
"""
ENDED = """
with portico.Progress() as ended:
    ended.begin("skim", {"a<b": 3000}, {}, 2)
    ended.warn("a [file] is <bad>")
    ended.advance("a<b", 3000)
    ended.end("skim", "done", 12.5, 3)
    ended.begin("yields", {}, {}, 2)
    ended.end("yields", "done", 1.5, 1)
"""


@pytest.mark.timeout(120)
def test_progress_is_html_in_one_place(tmp_path: Path) -> None:
    path = tmp_path / "progress.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in (BEGUN, ENDED)])
    nbformat.write(notebook, path)
    cells = execute(path, {})
    assert not errors(cells)
    assert not widgets(cells)
    begun, ended = (said(cell) for cell in cells)
    assert '<progress value="500" max="1000" style="width:5rem">' in begun
    assert ">a&lt;b<" in begun
    assert "500 / 4,000" in begun
    assert "<progress" not in ended  # as it is saved: no bar of a step that has ended
    assert "warning: a [file] is &lt;bad&gt;</span>" in ended
    assert "step skim: done in 12.5 s, 1 chunk, 3,000 entries\nstep yields: done in 1.50 s" in ended
    assert [len(cell.outputs) for cell in cells] == [1, 1]
