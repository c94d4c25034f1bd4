"""The notebooks in a real JupyterLab, in a real browser: run, looked at, and opened again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import portico
from tests.notebooks.executed import code_cells, copy, errors
from tests.notebooks.lab import BROKEN, Lab, Page, opened, require
from tests.notebooks.test_hnl import analysis_of

pytestmark = [pytest.mark.full, pytest.mark.browser, pytest.mark.timeout(1500)]


def look(page: Page, pictures: int) -> None:
    """Check what the page shows of an executed notebook."""
    assert not page.failures
    assert not [word for word in BROKEN if word in page.text]
    found = page.pictures()
    assert len(found) == pictures
    assert all(width > 0 for _, width in found)
    assert not page.errors


@pytest.mark.parametrize(
    ("name", "theme", "width", "pictures"),
    [("hnl", "JupyterLab Light", 1440, 5), ("dimuon", "JupyterLab Dark", 800, 3)],
)
def test_a_notebook_in_jupyterlab(
    name: str, theme: str, width: int, pictures: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    require()
    shots = Path(os.environ.get("PORTICO_SCREENSHOTS", tmp_path))
    files = tmp_path / "files"
    homes = [tmp_path / "home", tmp_path / "other"]
    for folder in (files, *homes):
        folder.mkdir()
    path = copy(f"{name}.ipynb", files)
    environment = {"PORTICO_REAL_DATA": str(tmp_path / "none")}
    if name == "hnl":
        chain: portico.Run = request.getfixturevalue("chain")
        environment = {"PORTICO_ON": "local", "PORTICO_ANALYSIS": str(analysis_of(tmp_path, chain))}
    with Lab(files, homes[0], environment, theme) as lab:
        with opened(lab, path.name, tmp_path / "profile", width) as page:
            page.run_all(1000)
            look(page, pictures)
            assert page.shoot(shots / f"{name}.png", width).stat().st_size > 10_000
        lab.end_kernels()
        with opened(lab, path.name, tmp_path / "again", width) as page:
            look(page, pictures)
    cells = code_cells(path)
    assert not errors(cells)
    assert all(cell.execution_count for cell in cells)
    # Someone else's JupyterLab does not trust the outputs, and leaves out of their HTML what could do something.
    with Lab(files, homes[1], environment, theme) as lab, opened(lab, path.name, tmp_path / "third", width) as page:
        look(page, pictures)
        page.shoot(shots / f"{name}-opened-again.png", width)
