"""Faults on the way: memory, bad files, partial runs, full disks. XRootD and clusters: tests/services."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import uproot
from click.testing import CliRunner

import portico
from portico.analysis.analysis import Analysis
from portico.cli import cli
from portico.errors import InputError, SpaceError, WorkerError
from portico.executors.local import LocalExecutor
from portico.monitor.status import read_status
from portico.report import write_report
from tests.conftest import Remember, numbers_of, write_events

pytestmark = pytest.mark.integration

HEADER = """
#pragma once
#include <vector>
namespace hunger {
inline std::vector<std::vector<char>> ballast;
inline void reset() { ballast.clear(); }
inline int grow(long bytes) { if (bytes) ballast.emplace_back(bytes, 1); return ballast.size(); }
}
"""
HUNGRY = """
from portico import step

@step(headers=["hunger.h"])
def hungry(frame, sample, *, each=0):
    import ROOT
    ROOT.hunger.reset()
    frame = frame.Define("grown", f"hunger::grow({each})")
    return {
        "n": frame.Filter("grown >= 0").Count(),
        "kept": frame.Filter("n > 1").Snapshot("kept", "kept.root", ["x", "event"]),
    }
"""
TOTAL = 'def total(frame, sample):\n    return {"n": frame.Count(), "w": frame.Sum("w")}\n'
SUMMARY = """
from portico import summary

@summary
def worth(results, samples):
    import matplotlib.pyplot as plt
    return {
        "worth": {name: [sample.luminosity, sample.processed_events] for name, sample in samples.items()},
        "picture": plt.figure(),
    }
"""


@pytest.mark.full
def test_a_chunk_that_outgrows_its_memory_runs_in_halves(
    make_analysis: Callable[..., Analysis], local: LocalExecutor, events: Path, tmp_path: Path
) -> None:
    """Each entry takes 4 MB: a chunk of 250 needs 1 GB more than the process itself, and 1.2 GB are allowed."""

    def analysis(each: int) -> Analysis:
        return make_analysis(
            HUNGRY,
            f'  - {{name: eat, function: "mysteps:hungry", chunk: 250 entries, options: {{each: {each}}}}}',
            f'    a: {{files: "{events}/events[01].root"}}',
            hunger__h=HEADER,
        )

    executor, reporter = LocalExecutor(1, memory=1_200_000_000), Remember()
    try:
        run = portico.run(analysis(4_000_000), folder=tmp_path / "run", executor=executor, reporter=reporter)
    finally:
        executor.close()
    quiet = portico.run(analysis(0), folder=tmp_path / "quiet", executor=local)
    assert numbers_of(run, "eat") == numbers_of(quiet, "eat")
    assert run["eat"]["a"]["n"] == 500
    halved = [warning for warning in reporter.warnings if "in two halves" in warning]
    assert len(halved) >= 2
    assert "1,200 MB are allowed" in halved[0]
    files = run["eat"]["a"]["kept"], quiet["eat"]["a"]["kept"]
    assert (len(files[0]), len(files[1])) == (4, 2)
    for column in ("x", "event"):
        written = [np.concatenate([uproot.open(f)["kept"][column].array(library="np") for f in each]) for each in files]
        assert np.array_equal(*written)


def damaged(source: Path, target: Path) -> Path:
    """Overwrite the head of the last basket of a column."""
    data = bytearray(source.read_bytes())
    with uproot.open(source) as file:
        first = int(file["Events"]["w"].basket_key(4).fSeekKey)
    data[first : first + 60] = bytes(60)
    target.write_bytes(data)
    return target


@pytest.fixture
def with_bad_files(make_analysis: Callable[..., Analysis], events: Path, tmp_path: Path) -> Analysis:
    """Four files, of which one is damaged inside; in a second sample a fifth cannot even be opened."""
    bad = damaged(events / "events1.root", tmp_path / "damaged.root")
    cut = tmp_path / "cut.root"
    cut.write_bytes((events / "events2.root").read_bytes()[:3000])
    good = [f"{events}/events{number}.root" for number in (0, 2, 3)]
    return make_analysis(
        TOTAL + SUMMARY,
        '  - {name: total, function: "mysteps:total", chunk: 50 entries}\n'
        '  - {name: worth, function: "mysteps:worth", input: total}',
        f"    data: {{luminosity: 2.0, files: {json.dumps([good[0], str(bad), *good[1:]])}}}\n"
        f"    mc: {{kind: signal, processed_events: 8000, files: {json.dumps([good[0], str(cut)])}}}",
    )


def test_bad_files_make_a_run_fail_or_partial(with_bad_files: Analysis, local: LocalExecutor, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises((InputError, WorkerError), match=r"cut\.root.*truncated"):
        portico.run(with_bad_files, folder=folder, executor=local)
    reporter = Remember()
    run = portico.run(with_bad_files, folder=folder, executor=local, allow_partial=True, reporter=reporter)
    assert run.partial
    assert run["total"]["data"]["n"] == 750  # nothing of the damaged file, though most of it can be read
    assert run["total"]["mc"]["n"] == 250
    assert sum("damaged.root" in warning for warning in reporter.warnings) >= 1
    assert sum("cut.root" in warning for warning in reporter.warnings) == 1
    summary = run.summary("worth")
    luminosity, processed = summary["worth"]["data"][0], summary["worth"]["mc"][1]
    assert luminosity == pytest.approx(2.0 * 750 / 1000)
    assert processed == pytest.approx(8000 / 2)  # a file that cannot be opened counts as much as the others
    assert summary["partial"] == ["data", "mc"]
    assert json.loads((folder / "total" / "results.json").read_text())["partial"].keys() == {"data", "mc"}
    with uproot.open(folder / "total" / "results.root") as file:
        assert file["data/partial"].member("fTitle") == "partial: 75.00% of the events"
    lost = {(loss.sample, Path(loss.file).name): loss for loss in read_status(folder).steps[0].lost_files}
    assert lost.keys() == {("data", "damaged.root"), ("mc", "cut.root")}
    assert lost["data", "damaged.root"].entries == 250
    assert run.states == {"total": "partial", "worth": "partial"}
    page = write_report(folder).read_text()
    assert "500 entries are lost" in page
    assert "damaged.root" in page
    shown = CliRunner().invoke(cli, ["status", str(folder)]).stdout
    assert "lost: step 'total', sample 'mc', 250 entries of" in shown


@pytest.mark.full
def test_a_file_made_again_makes_the_run_whole(
    with_bad_files: Analysis, local: LocalExecutor, events: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    portico.run(with_bad_files, folder=folder, executor=local, allow_partial=True)
    (tmp_path / "damaged.root").write_bytes((events / "events1.root").read_bytes())
    (tmp_path / "cut.root").write_bytes((events / "events2.root").read_bytes())
    run = portico.run(with_bad_files, folder=folder, executor=local)
    assert not run.partial
    assert run["total"]["data"]["n"] == 1000
    assert run.summary("worth")["worth"]["data"][0] == 2.0
    assert not read_status(folder).steps[0].lost
    with uproot.open(folder / "total" / "results.root") as file:
        assert "data/partial" not in file


def test_a_full_scratch_disk_is_told_with_its_place(
    make_analysis: Callable[..., Analysis], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle is unpacked in the runner's folder, below $TMPDIR."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can only be mounted by root")
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    write_events(tmp_path / "e.root", np.random.default_rng(1), 50)
    code = f"{TOTAL}# {'long ' * 200_000}\n"
    files = f'    a: {{files: "{tmp_path}/e.root"}}'
    analysis = make_analysis(code, '  - {name: total, function: "mysteps:total"}', files)
    reporter, executor = Remember(), LocalExecutor(1)
    try:
        with pytest.raises(SpaceError, match=rf"a file in {disk}.*: no space left; free space and run again"):
            portico.run(analysis, folder=tmp_path / "run", executor=executor, reporter=reporter)
    finally:
        executor.close()
        subprocess.run(["umount", str(disk)], check=True)
    assert sum("another worker" in warning for warning in reporter.warnings) == 2
