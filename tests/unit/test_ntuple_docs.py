"""docs/ntuple.md has every column of both layouts, with its type, and no other."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from hnl import control_skim, ntuple, skim

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ntuple.md"
HEADINGS = {"Ds -> mu N, N -> mu pi": skim, "The control channel": control_skim}


def expand(pattern: str) -> list[str]:
    """All names that a pattern with braces stands for."""
    parts = [part.split(",") for part in re.split(r"[{}]", pattern)]
    return ["".join(words) for words in product(*parts)]


def documented(heading: str) -> dict[str, str]:
    """Columns and types in the tables below a heading."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found: dict[str, str] = {}
    for cell, kind in re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|", section, flags=re.MULTILINE):
        for pattern in re.findall(r"`([^`]+)`", cell):
            for name in expand(pattern):
                assert name not in found, f"{name} is there twice"
                found[name] = kind
    return found


@pytest.mark.parametrize("heading", HEADINGS)
def test_page_has_all_columns(heading):
    module = HEADINGS[heading]
    lists = {
        **ntuple.PV_COLUMNS,
        **ntuple.TRIGGER_COLUMNS,
        **module.CANDIDATE_COLUMNS,
        **module.GENERATOR_COLUMNS,
    }
    expected = {**ntuple.EVENT_COLUMNS, "nPU_trueInt": "int", **{name: f"{kind} list" for name, kind in lists.items()}}
    assert documented("Columns of both layouts") | documented(heading) == expected
