"""`hnl simulate`: help, wrong usage, and events as the library makes them, resumed and extended."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

import portico
from hnl.cli import cli, simulate
from hnl.processes import MESONS, MODES, ORIGINS, PARTS, PROCESSES, event_expression
from portico.files import trees
from tests.simulated import DESCRIPTION

SIGNAL = ["--process", "signal", "--mass", "1.0", "--ctau", "10", "--seed", "1", "-n", "40"]


def call(*arguments):
    return CliRunner().invoke(cli, ["simulate", *(str(argument) for argument in arguments)])


def test_help_names_every_choice_and_explains_every_option():
    text = call("--help").output
    words = " ".join(text.split())
    for choice in (*PROCESSES, *MODES, *MESONS, *ORIGINS, *PARTS, "rntuple", "ttree", "tcp://HOST:PORT"):
        assert choice in words
    options = [parameter for parameter in simulate.params if isinstance(parameter, click.Option)]
    assert all(option.help for option in options)
    assert len(re.findall(r"^ +hnl simulate ", text, re.MULTILINE)) >= 4
    assert "simulate" in CliRunner().invoke(cli, ["--help"]).output


def test_examples_of_the_help_are_valid():
    lines = simulate.epilog.replace("\\\n", " ").splitlines()
    examples = [line.split()[2:] for line in lines if line.strip().startswith("hnl simulate")]
    assert len(examples) >= 4
    for words in examples:
        given = simulate.make_context("simulate", list(words)).params
        fractions = dict(word.split("=") for word in given["fractions"])
        names = ("process", "mass", "ctau", "meson", "origin", "mode", "pileup", "seed", "min_muons")
        parameters = {name: given[name] for name in names if given[name] is not None}
        if fractions:
            parameters["fractions"] = {part: float(share) for part, share in fractions.items()}
        assert event_expression(parameters, DESCRIPTION)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--process", "sygnal"], "'sygnal' is not one of"),
        (["--mass", "1.9"], "mass must be between 0.2452 and 1.8627"),
        (["--ctau", "-5"], "ctau above 0"),
        (["--meson", "Ds"], "'meson' is for control, not for signal; leave it out"),
        (["--pileup", "1000"], "from 0 to 200"),
        (["--fraction", "control=1"], "'fractions' is for mixture"),
        (["--fraction", "contrl=1"], "--fraction contrl=1: did you mean 'control'? valid: background"),
        (["--fraction", "control"], "for example --fraction control=0.5"),
        (["-n", "0"], "0 is not in the range x>=1"),
        (["--workers", "0"], "0 is not in the range x>=1"),
        (["--on", "nowhere"], "cannot run on 'nowhere'; valid: "),
        (["--seeds", "1"], "No such option"),
    ],
)
def test_wrong_usage_is_told_with_status_2(tmp_path, change, words):
    result = call(*SIGNAL, "-o", tmp_path / "out", *change)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_what_is_missing_is_told(tmp_path):
    result = call("--process", "signal", "--mass", "1", "--seed", "1", "-n", "5", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "parameter 'ctau' is missing; give a number" in result.stderr
    assert not (tmp_path / "out").exists()
    assert call("--process", "signal").exit_code == 2


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    result = call(*SIGNAL, "-o", tmp_path / "file" / "out")
    assert result.exit_code == 2
    assert "give another --output" in result.stderr


@pytest.mark.full
@pytest.mark.integration
def test_events_are_made_resumed_and_extended(tmp_path):
    output = tmp_path / "signal"
    result = call(*SIGNAL, "-o", output, "--workers", 1, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["events"] == 40
    assert answer["filter_efficiency"] == pytest.approx(40 / answer["generated"])
    (file,) = answer["files"]
    (tree,) = trees(file)
    assert (tree.tree, tree.entries, tree.format) == ("events", 40, "RNTuple")
    assert portico.load(output / "run")["simulate"]["signal"]["generated"] == answer["generated"]

    made = Path(file).stat().st_mtime_ns
    again = call(*SIGNAL, "-o", output, "--workers", 1)
    assert again.exit_code == 0
    assert "events:  40 in 1 files" in again.stdout
    assert Path(file).stat().st_mtime_ns == made

    other = call(*SIGNAL, "--seed", "2", "-o", output)
    assert other.exit_code == 2
    assert "made with other options; give another --output" in other.stderr

    analysis = yaml.safe_load((output / "analysis.yaml").read_text())
    assert analysis["dataset"]["samples"]["signal"]["parameters"]["ctau"] == 10.0
    more = call(*SIGNAL, "-n", "50", "-o", output, "--workers", 1, "--json")
    assert json.loads(more.stdout)["events"] == 50
