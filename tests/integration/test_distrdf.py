"""Steps on ROOT's own distributed RDataFrame: equal to local, refused where they must be, faults told."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import uproot

import portico
from portico.analysis.analysis import Analysis
from portico.errors import InputError, StepError
from portico.executors.local import LocalExecutor
from portico.executors.where import connect
from portico.results.exact import value_of
from portico.runfolder.ledger import Ledger
from portico.worker.metrics import METRICS
from portico_distrdf.executor import DistrdfExecutor
from tests.conftest import Remember, numbers_of

pytestmark = [pytest.mark.integration, pytest.mark.dask, pytest.mark.timeout(900)]

CODE = """
from pathlib import Path

from portico import step


@step(headers=["scale.h"], files=["table.txt"])
def scaled(frame, sample):
    table = Path(__file__).parent / "table.txt"
    frame = frame.Define("y", f'x * w * portico_test::scale("{table}")')
    return {
        "sum": frame.Sum("y"), "y": frame.Histo1D(("y", "", 20, 0, 20), "y", "w"),
        "profile": frame.Profile1D(("profile", "", 10, 0, 10), "x", "y"),
    }


def physics(frame, sample):
    import ROOT

    frame = frame.Define("y", "x * w")
    cut = frame.Filter("x > 5", "five").Filter("n != 2").Filter("y < 8", "eight")
    varied = frame.Vary("y", "ROOT::RVecD{y * 0.9, y * 1.1}", ["down", "up"], "scale").Filter("y > 2", "varied")
    return {
        "x": cut.Histo1D(("x", ";x;events", 20, 0, 10), "x"),
        "xn": frame.Histo2D(("xn", ";x;n", 10, 0, 10, 5, 0, 5), "x", "n", "w"),
        "profile": frame.Profile1D(("profile", "", 10, 0, 10), "x", "y"),
        "cutflow": cut.Report(),
        "n": cut.Count(), "sum": frame.Sum("y"), "low": frame.Min("y"), "high": frame.Max("y"),
        "mean": frame.Mean("y"), "std": frame.StdDev("y"),
        "graph": cut.Graph("x", "y"), "columns": cut.AsNumpy(["x", "n", "event"]),
        "y": ROOT.RDF.Experimental.VariationsFor(varied.Histo1D(("y", "", 20, 0, 20), "y")),
        "tree": cut.Snapshot("kept", "kept.root", ["x", "n", "event", "y"]),
    }


def second(frame, sample):
    return {"n": frame.Count(), "event": frame.Sum("event")}


def made(frame, sample):
    return {"n": frame.Count(), "sum": frame.Sum("entry"), "columns": frame.AsNumpy(["entry"])}


@step(headers=["scale.h"])
def slow(frame, sample, *, microseconds=0):
    spent = frame.Define("y", f"portico_test::spent(x, {microseconds})")
    return {"n": frame.Count(), "y": spent.Histo1D(("y", "", 20, 0, 10), "y", "w")}


def ranged(frame, sample):
    return {"n": frame.Range(10).Count()}


def early(frame, sample):
    count = frame.Count()
    return {"n": count, "half": frame.Filter(f"x < {count.GetValue()}").Count()}


def throws(frame, sample):
    return {"n": frame.Filter('if (x > 5) throw std::runtime_error("too large"); return true;').Count()}
"""

HEADER = """
#ifndef SCALE_H
#define SCALE_H
#include <chrono>
#include <fstream>
#include <string>
#include <thread>
namespace portico_test {
inline double scale(const std::string &path) {
  static const double read = [&] { double value = 0; std::ifstream(path) >> value; return value; }();
  return FACTOR * read;
}
inline double spent(double x, int microseconds) {
  std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
  return x;
}
} // namespace portico_test
#endif
"""


@pytest.fixture(scope="module")
def executor() -> Iterator[DistrdfExecutor]:
    made = DistrdfExecutor(workers=2)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def single() -> Iterator[DistrdfExecutor]:
    made = DistrdfExecutor(workers=1)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Four files with five clusters each, as ROOT sees them, and one without entries."""
    import ROOT

    from portico import root

    root.load()
    options = ROOT.RDF.RSnapshotOptions()
    options.fOutputFormat, options.fAutoFlush = ROOT.RDF.ESnapshotOutputFormat.kTTree, 50
    for number in range(5):
        frame = ROOT.RDataFrame(250 if number < 4 else 0).Define("event", f"rdfentry_ + {1000 * number}ULL")
        frame = frame.Define("u", "(event * 7919 + 13) % 100003 / 100003.").Define("x", "10 * u")
        frame = frame.Define("w", "float(0.5 + (event * 104729 + 7) % 1009 / 1009.)").Define("n", "int(event % 5)")
        frame.Snapshot("Events", str(tmp_path / f"e{number}.root"), ["x", "w", "n", "event"], options)
    return tmp_path


def analyse(make: Callable[..., Analysis], steps: str, samples: str, factor: str = "0.5") -> Analysis:
    return make(CODE, steps, samples, scale__h=HEADER.replace("FACTOR", factor), table__txt="2.0\n")


PHYSICS = (
    '  - {name: physics, function: "mysteps:physics", chunk: 50 entries}\n'
    '  - {name: second, function: "mysteps:second", input: physics, chunk: 50 entries}'
)
SCALED = '  - {name: scaled, function: "mysteps:scaled", chunk: 50 entries}'


@pytest.mark.full
def test_equal_between_numbers_of_workers(
    make_analysis: Callable[..., Analysis], files: Path, executor: DistrdfExecutor, single: DistrdfExecutor,
    tmp_path: Path,
) -> None:  # fmt: skip
    analysis = analyse(make_analysis, SCALED, f'    a: {{files: ["{files}/e*.root"]}}')
    two = portico.run(analysis, folder=tmp_path / "two", executor=executor)
    one = portico.run(analysis, folder=tmp_path / "one", executor=single)
    assert numbers_of(one, "scaled") == numbers_of(two, "scaled")  # bit for bit
    read = uproot.concatenate([f"{files}/e{n}.root:Events" for n in range(4)], ["x", "w"], library="np")
    assert two["scaled"]["a"]["sum"] == pytest.approx(np.sum(read["x"] * read["w"]), rel=1e-12)  # times 0.5 times 2.0


@pytest.mark.full
def test_equal_to_local(
    make_analysis: Callable[..., Analysis], files: Path, executor: DistrdfExecutor, local: LocalExecutor, tmp_path: Path
) -> None:
    analysis = analyse(
        make_analysis, PHYSICS,
        f'    a: {{files: ["{files}/e*.root"]}}\n    none: {{files: ["{files}/e4.root"]}}',
    )  # fmt: skip
    here = portico.run(analysis, folder=tmp_path / "local", executor=local)
    two = portico.run(analysis, folder=tmp_path / "two", executor=executor)
    for step in ("physics", "second"):
        assert_close(here, two, step)
    with uproot.open(tmp_path / "two" / "physics" / "results.root") as file:
        assert file["a/x"].values().sum() == two["physics"]["a"]["n"]
    parts = two["physics"]["a"].products["tree"].items
    assert len(parts) == 16  # ROOT cuts at clusters, into a power of two not above the number of chunks, 20
    events = np.concatenate([uproot.open(part["path"])["kept"]["event"].array(library="np") for part in parts])
    assert np.array_equal(events, here["physics"]["a"]["columns"]["event"])  # in the order of entries
    resumed(analysis, two, executor, local)


def assert_close(first: Any, second: Any, step: str) -> None:
    for sample, results in first[step].items():
        assert results.products.keys() == second[step][sample].products.keys()
        for name, product in results.products.items():
            other = second[step][sample].products[name]
            free = {"format": "", "type": ""}  # ROOT's Sum is a double
            assert other.meta | free == product.meta | free, name
            for key, array in product.arrays.items():
                if key == "sums":  # ROOT rounds where parts meet; integers are exact below 2^53
                    exact, rounded = ([float(value_of(one)) for one in sums] for sums in (array, other.arrays[key]))
                    assert rounded == (exact if step == "second" else pytest.approx(exact, rel=1e-12)), name
                    continue
                if array.dtype.kind in "iu" or (name in {"x", "graph", "columns"} and key != "stats"):
                    assert np.array_equal(array, other.arrays[key]), (name, key)
                np.testing.assert_allclose(other.arrays[key], array, rtol=1e-12, err_msg=f"{name} {key}")


def resumed(analysis: Analysis, run: Any, executor: DistrdfExecutor, local: LocalExecutor) -> None:
    """What is done on distrdf is not done again there; local computes its own."""
    again = Remember()
    portico.run(analysis, folder=run.path, executor=executor, reporter=again)
    assert again.ran == {"physics": 0, "second": 0}
    ledger = Ledger(run.path / "ledger.sqlite", read_only=True)
    metrics = {sample: found for sample, _, found in ledger.metrics("physics")}
    ledger.close()
    assert metrics["a"].keys() <= METRICS.keys()
    assert metrics["a"]["entries"] == 1000
    assert 0 < metrics["a"]["loop"] <= metrics["a"]["wall"]
    assert metrics["a"]["bytes_read"] > 8000
    own = Remember()
    portico.run(analysis, folder=run.path, steps=["second"], executor=local, reporter=own)
    assert own.ran["second"] == 17  # a chunk for each file


@pytest.mark.full
def test_generated_samples_and_edited_headers(
    make_analysis: Callable[..., Analysis], files: Path, executor: DistrdfExecutor, tmp_path: Path
) -> None:
    steps = '  - {name: made, function: "mysteps:made", chunk: 30 entries}'
    run = portico.run(analyse(make_analysis, steps, "    g: {entries: 100}"), folder=tmp_path / "g", executor=executor)
    assert run["made"]["g"]["sum"] == 99 * 100 / 2
    assert np.array_equal(run["made"]["g"]["columns"]["entry"], np.arange(100))

    samples = f'    a: {{files: ["{files}/e0.root"]}}'
    before = portico.run(analyse(make_analysis, SCALED, samples), folder=tmp_path / "h", executor=executor)
    total = before["scaled"]["a"]["sum"]
    after = portico.run(analyse(make_analysis, SCALED, samples, "0.25"), folder=tmp_path / "h", executor=executor)
    assert after["scaled"]["a"]["sum"] == pytest.approx(total / 2, rel=1e-12)


@pytest.mark.full
def test_workers_of_others_are_used_but_not_replaced(
    make_analysis: Callable[..., Analysis], files: Path, single: DistrdfExecutor, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """With the certificates where Dask's configuration names them, in this process and in those that it starts."""
    import dask

    steps = '  - {name: slow, function: "mysteps:slow", chunk: 50 entries}'
    samples = f'    a: {{files: ["{files}/e0.root"]}}'
    named = {"ca-file": "ca_file", "client.key": "key", "client.cert": "cert"}
    keys = {f"distributed.comm.tls.{name}": single._keys[key] for name, key in named.items()}
    for name, path in keys.items():
        monkeypatch.setenv(f"DASK_{name.upper().replace('.', '__').replace('-', '_')}", path)
    with dask.config.set(keys):
        theirs = connect(f"distrdf+{single._address}", None)
    try:
        run = portico.run(analyse(make_analysis, steps, samples), folder=tmp_path / "run", executor=theirs)
        assert run["slow"]["a"]["n"] == 250
        edited = analyse(make_analysis, steps, samples, "0.25")
        with pytest.raises(StepError, match=r"another version of the header scale\.h.*start the Dask workers again"):
            portico.run(edited, folder=tmp_path / "run", executor=theirs)
    finally:
        theirs.close()


@pytest.mark.parametrize(("function", "message"), [
    pytest.param(
        "ranged",
        r"mysteps\.py:\d+ \(return \{\"n\": frame\.Range\(10\).*Range is not possible on ROOT's .*--on local",
        marks=pytest.mark.full,
    ),
    ("early", r"mysteps\.py:\d+ .*ran the event loop while it was being built"),
    pytest.param("throws", r"sample 'a'.*too large", marks=pytest.mark.full),
])  # fmt: skip
def test_errors_of_the_step_name_the_line_or_the_words(
    make_analysis: Callable[..., Analysis], files: Path, executor: DistrdfExecutor, tmp_path: Path,
    function: str, message: str,
) -> None:  # fmt: skip
    steps = f'  - {{name: s, function: "mysteps:{function}", chunk: 50 entries}}'
    analysis = analyse(make_analysis, steps, f'    a: {{files: ["{files}/e0.root"]}}')
    with pytest.raises(StepError, match=message):
        portico.run(analysis, folder=tmp_path / "run", executor=executor)


@pytest.mark.full
def test_a_bad_file_fails_its_sample_alone(
    make_analysis: Callable[..., Analysis], files: Path, executor: DistrdfExecutor, tmp_path: Path
) -> None:
    steps = '  - {name: slow, function: "mysteps:slow", chunk: 50 entries}'
    samples = [f'    {name}: {{files: ["{files}/e{n}.root"]}}' for n, name in enumerate(["cut", "good", "other"])]
    analysis = analyse(make_analysis, steps, "\n".join(samples))

    class Late(Remember):
        """Damages a file, and replaces one, after they were planned."""

        def begin(self, *_: Any) -> None:
            content = (files / "e0.root").read_bytes()
            (files / "e0.root").write_bytes(content[: len(content) // 2])
            (files / "e3.root").replace(files / "e2.root")

    with pytest.raises(InputError, match=r"sample 'cut'.*e0\.root: cannot be opened") as error:
        portico.run(analysis, folder=tmp_path / "run", executor=executor, reporter=Late())
    assert re.search(r"sample 'other'.*e2\.root: was replaced after the run was planned", str(error.value))
    with pytest.warns(UserWarning, match=r"run: step 'slow' is failed"):
        run = portico.load(tmp_path / "run")
    assert set(run["slow"]) == {"good"}
    assert run["slow"]["good"]["n"] == 250


@pytest.mark.full
def test_a_killed_worker_changes_nothing(
    make_analysis: Callable[..., Analysis], files: Path, executor: DistrdfExecutor, tmp_path: Path
) -> None:
    steps = '  - {name: slow, function: "mysteps:slow", chunk: 50 entries, options: {microseconds: 3000}}'
    analysis = analyse(make_analysis, steps, f'    a: {{files: ["{files}/e*.root"]}}')
    quiet = portico.run(analysis, folder=tmp_path / "quiet", executor=executor)
    assert executor._own is not None
    nanny = psutil.Process(executor._own._processes[0].pid)
    killed: list[int] = []

    def kill() -> None:
        time.sleep(1.5)
        for child in nanny.children():
            if "resource_tracker" not in " ".join(child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)
                killed.append(child.pid)

    thread = threading.Thread(target=kill)
    thread.start()
    run = portico.run(analysis, folder=tmp_path / "run", executor=executor, reporter=Remember())
    thread.join()
    assert killed
    assert numbers_of(run, "slow") == numbers_of(quiet, "slow")
