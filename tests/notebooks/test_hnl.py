"""The notebook, cell by cell, on Dask over a real HTCondor pool."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
import pytest

import portico
from tests.reference import write_analysis
from tests.services.farm.pool import HTCondorPool
from tests.services.test_reference import SITE

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "hnl.ipynb"
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
try:
    NotebookClient(notebook, timeout=800).execute()
finally:
    nbformat.write(notebook, sys.argv[1])
"""
STEPS = """
  - {name: skim, function: "hnl.skim:skim", samples: [signal_*, background, data]}
  - {name: select, function: "hnl.select:select", input: skim}
  - {name: search, function: "hnl.search:search", input: select, options: {points: 6}}
  - {name: scan, function: "hnl.scan:scan", points: search/points.json, chunk: 3 points}
  - {name: limits, function: "hnl.limits:limits", input: scan, files: {hypotheses: search/hypotheses.json}}
"""


def test_the_notebook_has_no_plumbing() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert len(cells) <= 12
    assert all(not cell.outputs for cell in cells)
    words = ("import ROOT", "upload", "X509", "proxy", "scp ", "!", "subprocess", "sys.path")
    assert not [word for word in words for cell in cells if word in cell.source.replace("!=", "")]


@pytest.mark.htcondor
@pytest.mark.timeout(900)
def test_the_notebook_runs_on_the_farm(htcondor_pool: HTCondorPool, chain: portico.Run) -> None:
    user = htcondor_pool.user
    folder = user.folder("notebook")
    site = user.write(folder / "farm.yaml", SITE.format(kind="htcondor", folder=folder))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    path = user.write(folder / "hnl.ipynb", nbformat.writes(notebook))
    shutil.copytree(chain.path / "simulate", folder / "events")
    analysis = write_analysis(folder / "fewer", "events", lambda name: [f"{folder}/events/{name}/*.root"], STEPS)
    user.own(folder)
    environment = {"PORTICO_ON": str(site), "PORTICO_ANALYSIS": str(analysis)}
    user.run([user.python, "-c", EXECUTE, path], env=environment, cwd=folder, timeout=850)
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    said = ["".join(str(o.get("text", "")) + json.dumps(o.get("data", {})) for o in cell.outputs) for cell in cells]
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]
    verdict = next(text for text in said if "bit for bit" in text)
    assert "equal" in verdict
    assert '"image/png"' in said[-1]
    states = next(text for text in said if "'skim': 'done'" in text)
    assert "'limits': 'done'" in states
    assert sum('"image/png"' in text for text in said) >= 3
    # After the cut was changed, only the selection and what follows ran again.
    again = next(text for cell, text in zip(cells, said, strict=True) if "tighter" in cell.source)
    assert again.count("done before") >= 1
