"""`make demo-full` runs the analysis of `make demo` with more data and looser cuts of the far categories."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

import hnl
from portico.analysis.analysis import load_analysis
from portico.selection.load import load_selection

TOOL = Path(__file__).parents[2] / "tools" / "demo_full.py"
HNL = Path(hnl.__file__).parent


@pytest.fixture(scope="module")
def tool() -> Any:
    specification = importlib.util.spec_from_file_location("demo_full", TOOL)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_only_the_data_their_luminosity_and_cuts_differ(tool: Any, tmp_path: Path) -> None:
    path = tmp_path / "full.yaml"
    path.write_text(yaml.safe_dump(tool.full(3), sort_keys=False))
    made, usual = load_analysis(path), load_analysis(HNL)
    assert made.name == "hnl-full"
    assert [step.name for step in made.steps] == [step.name for step in usual.steps]
    changed = [step.name for step, of in zip(made.steps, usual.steps, strict=True) if step.options != of.options]
    assert changed == ["select"]
    assert made.dataset["data"].luminosity == pytest.approx(3 * (usual.dataset["data"].luminosity or 0.0))
    more, known = (yaml.safe_dump(tool.full(times)["dataset"]["samples"], sort_keys=False) for times in (3, 1))
    assert [line for line in more.splitlines() if line not in known.splitlines()] == [
        f"  entries: {3 * tool.full(1)['dataset']['samples']['data']['entries']}"
    ]


def test_each_cut_loosens_one_of_the_far_categories(tool: Any) -> None:
    path = HNL / "selection.yaml"
    far = {name for name in yaml.safe_load(path.read_text())["categories"] if "lxy1to5" in name or "lxy5toInf" in name}
    assert {key.partition("/")[0] for key in tool.CUTS} == far
    loose, usual = load_selection(path, tool.CUTS), load_selection(path)
    for key, cut in tool.CUTS.items():
        category, name = key.split("/")
        before, after = (of.categories[category][name] for of in (usual, loose))
        assert after == cut
        assert before.rpartition(" > ")[0] == after.rpartition(" > ")[0]
        assert float(before.rpartition(" > ")[2]) > float(after.rpartition(" > ")[2])
