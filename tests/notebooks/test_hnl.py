"""The notebook, cell by cell, on local processes and on Dask over a real HTCondor pool."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import portico
from tests.notebooks.executed import EXECUTE, FOLDER, code_cells, copy, errors, execute, said, widgets
from tests.reference import write_analysis
from tests.services.test_reference import SITE

NOTEBOOK = FOLDER / "hnl.ipynb"
STEPS = """
  - {name: skim, function: "hnl.skim:skim", samples: [signal_*, background, data]}
  - {name: select, function: "hnl.select:select", input: skim}
  - {name: search, function: "hnl.search:search", input: select, options: {points: 6}}
  - {name: scan, function: "hnl.scan:scan", points: search/points.json, chunk: 3 points}
  - {name: limits, function: "hnl.limits:limits", input: scan, files: {hypotheses: search/hypotheses.json}}
"""


def test_the_notebook_has_no_plumbing() -> None:
    cells = code_cells(NOTEBOOK)
    assert len(cells) <= 13
    assert all(not cell.outputs for cell in cells)
    words = ("import ROOT", "upload", "X509", "proxy", "scp ", "!", "subprocess", "sys.path")
    assert not [word for word in words for cell in cells if word in cell.source.replace("!=", "")]


@pytest.mark.timeout(900)
@pytest.mark.full
@pytest.mark.parametrize("on", ["local", pytest.param("htcondor", marks=pytest.mark.htcondor)])
def test_the_notebook_runs(on: str, request: pytest.FixtureRequest, tmp_path: Path, chain: portico.Run) -> None:
    path = (_on_the_farm if on == "htcondor" else _here)(request, tmp_path, chain)
    cells = code_cells(path)
    words = [said(cell) for cell in cells]
    assert not errors(cells)
    assert not widgets(cells)
    verdict = next(text for text in words if "bit for bit" in text)
    assert "equal" in verdict
    assert "image/png" in words[-1]
    states = next(text for text in words if "'skim': 'done'" in text)
    assert "'limits': 'done'" in states
    assert sum("image/png" in text for text in words) >= 3
    # The first fill was drawn while it grew, and the way back to its cut ran nothing.
    live = next(text for cell, text in zip(cells, words, strict=True) if ".show(" in cell.source)
    assert live.count("data:image/svg+xml") == 2
    assert "done" in live
    assert "PARTIAL" not in live
    assert any("'select': 0}" in text and "'skim': 0" in text for text in words)


def _here(_: pytest.FixtureRequest, folder: Path, chain: portico.Run) -> Path:
    """Execute the notebook on local processes, and return it."""
    path = copy("hnl.ipynb", folder)
    execute(path, {"PORTICO_ON": "local", "PORTICO_ANALYSIS": str(analysis_of(folder, chain))})
    return path


def _on_the_farm(request: pytest.FixtureRequest, _: Path, chain: portico.Run) -> Path:
    """Execute it on Dask over HTCondor, as another user."""
    user = request.getfixturevalue("htcondor_pool").user
    folder = user.folder("notebook")
    site = user.write(folder / "farm.yaml", SITE.format(kind="htcondor", folder=folder))
    path: Path = user.write(folder / "hnl.ipynb", NOTEBOOK.read_text(encoding="utf-8"))
    analysis = analysis_of(folder, chain)
    user.own(folder)
    environment = {"PORTICO_ON": str(site), "PORTICO_ANALYSIS": str(analysis)}
    user.run([user.python, "-c", EXECUTE, path], env=environment, cwd=folder, timeout=850)
    return path


def analysis_of(folder: Path, chain: portico.Run) -> Path:
    """Write the analysis of the chain's events."""
    shutil.copytree(chain.path / "simulate", folder / "events")
    return write_analysis(folder / "fewer", "events", lambda name: [f"{folder}/events/{name}/*.root"], STEPS)
