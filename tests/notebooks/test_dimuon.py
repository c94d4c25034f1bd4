"""The first hour, cell by cell, on events that it makes."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.executed import FOLDER, code_cells, copy, errors, execute, said, widgets


def test_it_names_what_exists() -> None:
    assert not [cell for cell in code_cells(FOLDER / "dimuon.ipynb") if cell.outputs]
    text = "\n".join(cell.source for cell in nbformat.read(FOLDER / "dimuon.ipynb", as_version=4).cells)
    pages = re.findall(r"`(docs/\w+\.md)`", text)
    assert len(pages) >= 3
    assert all((FOLDER.parent / page).is_file() for page in pages)


@pytest.mark.timeout(300)
def test_the_first_hour(tmp_path: Path) -> None:
    cells = execute(copy("dimuon.ipynb", tmp_path), {"PORTICO_REAL_DATA": str(tmp_path / "none")})
    assert not errors(cells)
    assert not widgets(cells)
    words = [said(cell) for cell in cells]
    assert any("made events" in text for text in words)
    inspected = next(text for cell, text in zip(cells, words, strict=True) if "portico inspect" in cell.source)
    assert "Muon_charge" in inspected
    assert sum("image/png" in text for text in words) == 2
    live = next(text for cell, text in zip(cells, words, strict=True) if ".show(" in cell.source)
    assert live.count("data:image/svg+xml") == 1
    assert "3,000 entries" in live
    assert any("{'dimuon': 0}" in text for text in words)
    count = next(match for text in words if (match := re.search(r"Z candidates: (\d+) \+- (\d+)", text)))
    assert int(count[1]) > 10 * int(count[2])
    run = next(text for cell, text in zip(cells, words, strict=True) if "portico run" in cell.source)
    assert "step dimuon: done" in run
    assert "\r" not in run
    assert "\x1b[2K" not in run  # no bars, which only a terminal can show
    assert "bit for bit" in words[-1]
    assert "exit status 1" in words[-1]
