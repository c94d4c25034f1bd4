"""Every refusal of a model names its file, and of a datacard the line."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import portico
from portico.cli.limit import limit
from portico.errors import InputError
from portico.stats.model_file import read_model
from tests.unit import test_combine_card, test_datacards

STATS = Path(portico.__file__).parent / "stats"
#: What reads or builds models; a message names the file by one of these.
READERS = sorted(
    path for path in [*STATS.glob("*.py"), *STATS.glob("exports/card*.py"), *STATS.glob("roofit/*.py")]
    if path.stem in {
        "archive", "card", "card_builder", "card_histograms", "card_rates", "card_statistics", "card_workspace",
        "files", "histfactory", "histfactory_xml", "hs3_file", "model_file", "patches", "plan", "published",
        "workspace",
    }
)  # fmt: skip
PLACES = ("path", "where", "file", "place", "text")  # the last one is a patch of the command line
CARD = """imax *
jmax *
kmax *
bin a b
observation 30 40
bin a a b b
process sig bkg sig bkg
process 0 1 0 1
rate 5 25 6 35
"""


def raised(path: Path) -> Iterator[ast.Call]:
    """Yield the calls that make the errors of a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        known = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args
        if known and node.func.id in {"InputError", "ConfigError"}:
            yield node


def test_every_message_of_a_reader_has_a_place_for_the_file() -> None:
    """Names of variables tell: ``where``, ``path`` and their like are the first thing of a message."""
    assert len(READERS) > 12
    nameless = []
    for path in READERS:
        for call in raised(path):
            text = call.args[0]
            first = text.values[0] if isinstance(text, ast.JoinedStr) else text
            named = ast.unparse(first.value if isinstance(first, ast.FormattedValue) else first)
            if not any(word in named for word in PLACES):
                nameless.append(f"{path.name}:{call.lineno}: {named}")
    assert nameless == []


TABLES = [
    *(text for text, message in test_combine_card.test_faults_have_their_line.pytestmark[0].args[1]),
    *(text for text, message in test_combine_card.test_what_no_workspace_can_hold.pytestmark[0].args[1]),
    *(
        f"{test_datacards.COUNTING}{line}\n"
        for test in (test_datacards.test_what_is_not_read_is_named, test_datacards.test_what_a_workspace_cannot_hold)
        for line, message in test.pytestmark[0].args[1] if "(1+@0)" not in line and "two widths" not in message
    ),  # but those that RooFit reads
    CARD + "free rateParam * sig 1\n",
    CARD + "free rateParam a sig 1\nfree rateParam b sig 1\n",
    CARD + "wide lnU 1.5 - 1.5 -\n",
    CARD + "free rateParam a bkg -1\n",
    CARD + "free rateParam a bkg -0.5 [-1,0]\n",
    CARD + "free rateParam a sig @0 r\n",
    CARD + "x rateParam a sig 1\nk rateParam a bkg 1 [0,2]\ny rateParam a bkg (@0*@0) k\n",
    CARD + "k param 0 0\nk rateParam a bkg 1\n",
    CARD.replace("rate 5 25 6 35", "rate 0 25 0 35"),
    CARD.replace("rate 5 25 6 35", "rate -1 25 6 35"),
    CARD.replace("rate 5 25 6 35", "rate 5 0 6 35"),
    CARD.replace("rate 5 25 6 35", "rate 0 0 6 35"),
    CARD.replace("observation 30 40", "observation nan 40"),
    CARD.replace("observation 30 40", "observation -2 40"),
    CARD.replace("observation 30 40\n", ""),
    CARD.replace("imax *", "imax 3"),
    CARD + "k lnN - 1e400 - -\n",
    CARD + "a autoMCStats x\n",
    CARD + "k lnN - 1.1 - -\nnuisance edit freeze q\n",
    CARD + "k lnN - 1.1 - -\ng group = q\n",
]  # fmt: skip


@pytest.mark.parametrize("text", TABLES, ids=range(len(TABLES)))
def test_every_refusal_of_a_card_names_its_line(text: str, tmp_path: Path) -> None:
    """Only what is not there has none."""
    path = tmp_path / "card.txt"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        read_model(path)
    message = str(refused.value)
    assert message.startswith((f"{path}, line ", f"{path}: there is no line 'rate'")), message


def test_errors_of_fits_and_limits_name_the_file(tmp_path: Path) -> None:
    """The model is right, and no asymptotic limit exists: the data of a single channel without background are 0."""
    path = tmp_path / "card.txt"
    path.write_text("imax 1\nbin a\nobservation 0\nbin a\nprocess sig\nprocess 0\nrate 5\nk lnN 1.1\n")
    done = CliRunner().invoke(limit, [str(path)])
    assert done.exit_code == 1
    assert str(path) in done.output
    signal = {"name": "s", "data": [5.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None},
              {"name": "k", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}]}  # fmt: skip
    spec = {
        "channels": [{"name": "a", "samples": [signal]}], "observations": [{"name": "a", "data": [0.0]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}], "version": "1.0.0",
    }  # fmt: skip
    (tmp_path / "model.json").write_text(json.dumps(spec))
    done = CliRunner().invoke(limit, [str(tmp_path / "model.json")])
    assert done.exit_code == 1
    assert "model.json" in done.output
