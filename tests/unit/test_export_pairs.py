"""Every kind of model in every format that can hold it: what is read again gives the same limits."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portico.stats.exports.formats import export
from portico.stats.infer import infer
from portico.stats.model_file import read_model
from tests.unit.test_datacards import put
from tests.unit.test_export_formats import PEAK
from tests.unit.test_limit_command import OWN, SPEC

ENDS = {"pyhf": "json", "hs3": "hs3.json", "roofit": "root", "combine": "txt"}


def as_json(content: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "model.json").write_text(json.dumps(content))
        return folder / "model.json"

    return write


def archive(folder: Path) -> Path:
    (folder / "inside.json").write_text(json.dumps(SPEC))
    with tarfile.open(folder / "archive.tar.gz", "w:gz") as made:
        made.add(folder / "inside.json", "inside.json")
    return folder / "archive.tar.gz"


def written(kind: str, content: Any) -> Callable[[Path], Path]:
    """An input that is itself an export."""

    def write(folder: Path) -> Path:
        path = folder / f"first.{ENDS[kind]}"
        export(read_model(as_json(content)(folder)), kind, path)
        return path

    return write


INPUTS: dict[str, Callable[[Path], Path]] = {
    "pyhf": as_json(SPEC), "archive": archive, "card": lambda folder: put(folder, "bg lnN - 1.2\nlumi lnN 1.1 1.1\n"),
    "hs3": written("hs3", SPEC), "own": as_json(OWN), "peak": as_json(PEAK), "roofit": written("roofit", SPEC),
}  # fmt: skip
QUICK = {("pyhf", "pyhf"), ("pyhf", "combine"), ("card", "pyhf"), ("card", "combine"), ("own", "combine"),
         ("archive", "pyhf"), ("own", "pyhf"), ("pyhf", "roofit")}  # fmt: skip
#: Of the limit: RooFit's minima; and floating shapes are linear in a workspace of pyhf.
AGREEMENT = {("peak", "pyhf"): 0.03}


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        pytest.param(kind, form, marks=[] if (kind, form) in QUICK else [pytest.mark.full])
        for kind in INPUTS for form in ENDS if not (kind == "roofit" and form in {"pyhf", "combine"})
    ],
)  # fmt: skip
def test_the_limit_of_an_export_is_that_of_the_model(tmp_path: Path, kind: str, form: str) -> None:
    model = read_model(INPUTS[kind](tmp_path))
    before = infer(model).limit
    path = tmp_path / "again" / f"model.{ENDS[form]}"
    path.parent.mkdir()
    export(model, form, path)
    after = infer(read_model(path)).limit
    assert after.observed == pytest.approx(before.observed, rel=AGREEMENT.get((kind, form), 0.01))
    assert after.expected == pytest.approx(before.expected, rel=AGREEMENT.get((kind, form), 0.01))
