"""`portico scale` with real runs: what it measures, what it leaves alone, and how it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from portico.analysis.analysis import Analysis
from portico.cli import cli
from portico.errors import ConfigError, RunFolderError
from portico.scaling.measure import Wanted, measure
from portico.scaling.record import read_record
from portico.scaling.result import Scaling, Volume
from tests.conftest import Remember

pytestmark = pytest.mark.integration

CODE = """
import portico
def skim(frame, sample):
    return {"kept": frame.Filter("x > 2", "x").Snapshot("Events", "", ["x", "n"])}
def fill(frame, sample):
    return {"x": frame.Histo1D(("x", "x", 10, 0.0, 10.0), "x"), "n": frame.Count()}
@portico.summary
def total(results, samples):
    return {"n": 1}
"""
STEPS = """
  - {name: skim, function: "mysteps:skim", chunk: 50 entries}
  - {name: fill, function: "mysteps:fill", chunk: 50 entries, input: skim}
  - {name: total, function: "mysteps:total", input: fill}
"""


@pytest.fixture
def analysis(make_analysis: Callable[..., Analysis], events: Path, tmp_path: Path, monkeypatch: Any) -> Analysis:
    """A skim of four files, and histograms of it; it has a store, and a run folder with something in it."""
    monkeypatch.chdir(tmp_path)
    made = make_analysis(CODE, STEPS, f"    a: {{files: '{events}/events*.root'}}")
    store = tmp_path / "store"
    store.mkdir()
    return made.model_copy(update={"store": str(store)})


@pytest.mark.full
def test_two_workers_and_a_growing_input(analysis: Analysis, tmp_path: Path) -> None:
    out, reporter = tmp_path / "out", Remember()
    wanted = Wanted("fill", (1, 2), (0.5, 1.0), 1)
    record = measure(analysis, wanted, out, reporter)
    measured = [(m.asked, m.part, m.chunks, m.first) for m in record.measurements]
    chunks = record.chunks
    assert chunks > 8
    half = -(-chunks // 2)
    assert measured == [
        (1, 0.5, half, True), (1, 0.5, half, False), (1, 1.0, chunks, False),
        (2, 0.5, half, True), (2, 0.5, half, False), (2, 1.0, chunks, False),
    ]  # fmt: skip
    assert all(m.workers == m.asked and m.bytes_read and m.dropped and not m.columns_found for m in record.measurements)
    assert record.measurements[2].entries == record.entries == sum(m.entries for m in record.measurements[2:3])
    assert read_record(out / "fill.json") == record
    assert not (tmp_path / "runs").exists()
    assert list((tmp_path / "store").iterdir()) == []
    assert not list(out.glob("run-*"))

    found = Scaling(record)
    assert [row.workers for row in found.rows] == [1, 1, 2, 2]
    assert found.rows[3].efficiency == pytest.approx(found.rows[1].seconds / found.rows[3].seconds / 2)
    assert any("column cache was not used" in note for note in found.notes)
    predicted = found.predict(Volume.parse("1 GB"), 2)
    assert predicted.seconds.low <= predicted.seconds.value <= predicted.seconds.high
    json.dumps(found.to_json(), allow_nan=False)

    again = measure(analysis, Wanted("fill", (1, 2), (0.5, 1.0), 1), out, Remember())
    assert again == record, "everything was measured already"


@pytest.mark.full
def test_goes_on_after_ctrl_c(analysis: Analysis, tmp_path: Path) -> None:
    out, wanted = tmp_path / "out", Wanted("skim", (1,), (0.25, 1.0), 1)

    class Impatient(Remember):
        def note(self, message: str) -> None:
            super().note(message)
            if "measurement 1 of 2" in message:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(analysis, wanted, out, Impatient())
    kept = read_record(out / "skim.json")
    assert kept is not None
    assert [(m.part, m.first) for m in kept.measurements] == [(0.25, True), (0.25, False)]
    assert not list(out.glob("run-*"))
    record = measure(analysis, wanted, out, Remember())
    assert record.measurements[:2] == kept.measurements
    assert [(m.part, m.first) for m in record.measurements[2:]] == [(0.25, True), (1.0, False)]

    changed = analysis.model_copy(update={"steps": (analysis.steps[0].model_copy(update={"chunk": "100 entries"}),)})
    reporter = Remember()
    new = measure(changed, wanted, out, reporter)
    assert len(new.measurements) == 3
    assert "measured again" in "".join(reporter.warnings)
    assert read_record(out / "skim.earlier.json") == record


@pytest.mark.full
def test_columns_in_the_cache_are_told(analysis: Analysis, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PORTICO_COLUMNS", str(tmp_path / "columns"))
    record = measure(analysis, Wanted("fill", (1,), (1.0,), 1, cache=True), tmp_path / "out", Remember())
    first, second = record.measurements
    assert first.columns_filled
    assert second.columns_found
    assert any("column cache: " in note for note in Scaling(record).notes)


def test_wrong_requests_are_named(analysis: Analysis, tmp_path: Path) -> None:
    def refused(kind: type[Exception], words: str, wanted: Wanted, folder: Path = tmp_path / "out") -> None:
        with pytest.raises(kind, match=words):
            measure(analysis, wanted, folder, Remember())

    refused(ConfigError, "no step 'fil'.*did you mean 'fill'", Wanted("fil", (1,), (1.0,), 1))
    refused(ConfigError, "'total' is a summary step.*valid: fill, skim", Wanted("total", (1,), (1.0,), 1))
    refused(ConfigError, "no sample 'b'", Wanted("fill", (1,), (1.0,), 1, samples=("b",)))
    refused(ConfigError, "cannot run on 'moon'", Wanted("fill", (1,), (1.0,), 1, on="moon"))
    run = tmp_path / "run"
    run.mkdir()
    (run / "ledger.sqlite").touch()
    refused(RunFolderError, "is a run folder", Wanted("fill", (1,), (1.0,), 1), run)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "fill.json").write_text("[")
    refused(RunFolderError, "is not a record", Wanted("fill", (1,), (1.0,), 1))


@pytest.mark.full
def test_command_writes_figures_tables_and_json(analysis: Analysis, tmp_path: Path) -> None:
    where = ["scale", str(analysis.folder), "--step", "skim", "--workers", "1,2", "--input", "50,100", "--repeat", "1"]
    far = ["--predict", "0.5TB", "--predict", "1e9 events", "--cores", "128", "--storage", "1 GB/s"]
    shown = CliRunner().invoke(cli, [*where, *far])
    assert shown.exit_code == 0, shown.output
    for words in ("serial fraction (Amdahl)", "500 GB", "128", "each time was measured once", "test-scale/skim.pdf"):
        assert words in shown.output
    told = CliRunner().invoke(cli, [*where, *far, "--json"])
    content = json.loads(told.stdout)
    assert told.stderr == "", "everything was measured before"
    assert [row["workers"] for row in content["rows"]] == [1, 1, 2, 2]
    assert content["predictions"][0]["volume"] == 5e11
    assert all(Path(file).stat().st_size > 500 for file in content["files"])
    for wrong, words in (
        (["--predict", "1TB"], "--predict and --cores go together"),
        (["--workers", "0"], "write numbers of workers"),
        (["--input", "0,50"], "write parts in percent"),
        (["--predict", "much", "--cores", "2"], "'much' is not an amount of input"),
        (["--predict", "1TB", "--cores", "2", "--storage", "fast"], "write a rate such as"),
    ):
        answer = CliRunner().invoke(cli, ["scale", str(analysis.folder), *wrong])
        assert (answer.exit_code, words in answer.stderr) == (2, True), answer.stderr
    several = CliRunner().invoke(cli, ["scale", str(analysis.folder)])
    assert "choose one with --step: skim, fill" in several.stderr
