"""Whole runs: the same bit for bit whatever runs them, resumed after anything, wrong in no silent way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import portico
from portico.analysis.analysis import Analysis
from portico.environment.bundle import Bundle
from portico.errors import InputError, PorticoError, RunFolderError, StepError, WorkerError
from portico.executors.base import Executor
from portico.executors.dask import DaskExecutor
from portico.executors.local import LocalExecutor
from portico.monitor.status import read_status
from portico.runfolder.folder import RunFolder
from portico.worker.metrics import METRICS
from portico.worker.task import Failed, FailureKind, Outcome, Task
from tests.conftest import Remember, numbers_of

pytestmark = pytest.mark.integration

CODE = '''
"""Steps of a test."""


def keep(frame, sample):
    kept = frame.Filter("x > 2", "x > 2").Define("y", "x * w")
    return {
        "tree": kept.Snapshot("kept", "kept.root", ["x", "y", "n"]),
        "cutflow": kept.Report(),
        "mean": kept.Mean("y"),
        "deviation": kept.StdDev("y"),
        "least": kept.Min("x"),
    }


def fill(frame, sample, *, scale=1.0):
    frame = frame.Define("z", f"y * {scale}").Vary("z", "ROOT::RVecD{z * 0.9, z * 1.1}", ["down", "up"], "energy")
    import ROOT
    h = frame.Histo1D(("z", "title;z (GeV);events", 30, 0, 15), "z", "y")
    return {"z": ROOT.RDF.Experimental.VariationsFor(h), "columns": frame.AsNumpy(["n", "x"]), "sum": frame.Sum("y")}
'''
STEPS = """
  - {name: keep, function: "mysteps:keep", chunk: 50 entries}
  - {name: fill, function: "mysteps:fill", input: keep}
"""


@pytest.fixture
def two_steps(make_analysis: Callable[..., Analysis], events: Path) -> Analysis:
    samples = f'    a: {{files: ["{events}/events*.root"]}}\n    b: {{files: "{events}/empty.root", kind: background}}'
    return make_analysis(CODE, STEPS, samples)


def test_a_whole_run_gives_the_right_numbers(
    two_steps: Analysis, local: LocalExecutor, events: Path, tmp_path: Path
) -> None:
    reporter = Remember()
    run = portico.run(two_steps, folder=tmp_path / "run", executor=local, reporter=reporter)
    columns = uproot.concatenate([f"{events}/events{i}.root:Events" for i in range(4)])
    x, w, n = (columns[c].to_numpy() for c in ("x", "w", "n"))
    y = x * w
    kept, filled = run["keep"]["a"], run["fill"]["a"]
    assert kept["cutflow"].rows()[0][:3] == ("x > 2", 1000, int((x > 2).sum()))
    assert kept["mean"] == pytest.approx(y[x > 2].mean(), rel=1e-12)
    assert kept["deviation"] == pytest.approx(y[x > 2].std(ddof=1), rel=1e-12)
    assert kept["least"] == x[x > 2].min()
    assert len(kept["tree"]) == 20
    assert filled["sum"] == pytest.approx(y[x > 2].sum(), rel=1e-12)
    assert filled["columns"]["x"].tolist() == x[x > 2].tolist()
    assert filled["columns"]["n"].tolist() == n[x > 2].tolist()
    varied = filled.variations("z")
    assert list(varied) == ["nominal", "energy:down", "energy:up"]
    for factor, h in zip((1.0, 0.9, 1.1), varied.values(), strict=True):
        expected, _ = np.histogram(y[x > 2] * factor, 30, (0, 15), weights=y[x > 2])
        assert h.values() == pytest.approx(expected, rel=1e-12)
        squares, _ = np.histogram(y[x > 2] * factor, 30, (0, 15), weights=y[x > 2] ** 2)
        assert h.variances() == pytest.approx(squares, rel=1e-12)
        assert h.axes[0].label == "z (GeV)"
    assert run["fill"]["b"]["z"].values(flow=True).sum() == 0
    assert reporter.ran == {"keep": 21, "fill": 21}

    again = Remember()
    portico.run(two_steps, folder=tmp_path / "run", executor=local, reporter=again)
    assert again.ran == {"keep": 0, "fill": 0}
    check_files(tmp_path / "run")


def test_an_interrupted_export_is_made_up_for(two_steps: Analysis, local: LocalExecutor, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    portico.run(two_steps, folder=folder, executor=local)
    content = json.loads((folder / "fill" / "results.json").read_text())
    content["keys"]["a"] = "that of an older result"
    (folder / "fill" / "results.json").write_text(json.dumps(content))
    (folder / "fill" / "results.root").write_bytes(b"older")
    portico.run(two_steps, folder=folder, executor=local)
    with uproot.open(folder / "fill" / "results.root") as file:
        assert file["a/z"].values().sum() > 0


def check_files(folder: Path) -> None:
    """Results are there for readers without portico."""
    with uproot.open(folder / "fill" / "results.root") as file:
        h = file["a/z"].to_hist()
        assert h.axes[0].label == "z (GeV)"
        assert h.variances().sum() > 0
        assert file["a/z_energy_up"].member("fEntries") == file["a/columns"].num_entries
    import ROOT

    file = ROOT.TFile.Open(str(folder / "fill" / "results.root"))
    assert file.Get("a/z").GetTitle() == "title"
    assert file.Get("a/z").GetSumw2N() == 32
    file.Close()
    assert portico.load(folder)["fill"]["a"].root["z"].GetXaxis().GetTitle() == "z (GeV)"
    written = sorted((folder / "keep" / "a").glob("*.root"))
    assert len(written) == 20
    assert not list(folder.rglob(".*"))


class Unruly(Executor):
    """An executor that loses tasks, repeats outcomes and returns them in any order."""

    name = "unruly"

    def __init__(self, inner: Executor, seed: int, interrupt_after: int | None = None) -> None:
        self._inner, self._random = inner, random.Random(seed)
        self._held: list[Outcome] = []
        self._lost: list[Task] = []
        self._interrupt_after = interrupt_after

    @property
    def workers(self) -> int:
        return self._inner.workers

    @property
    def free(self) -> int:
        return self._inner.free

    def prepare(self, bundle: Bundle) -> None:
        self._inner.prepare(bundle)

    def submit(self, task: Task) -> None:
        if task.attempt < 3 and self._random.random() < 0.15:
            self._lost.append(task)
        else:
            self._inner.submit(task)

    def wait(self, timeout: float) -> list[Outcome]:
        self._held += self._inner.wait(0.01)
        lost = [Failed(task, FailureKind.LOST, "lost on purpose") for task in self._lost]
        self._lost = []
        self._random.shuffle(self._held)
        count = self._random.randint(0, len(self._held)) if self._random.random() < 0.7 else len(self._held)
        given, self._held = self._held[:count], self._held[count:]
        if self._interrupt_after is not None and given:
            self._interrupt_after -= len(given)
            if self._interrupt_after < 0:
                raise KeyboardInterrupt
        return [*given, *lost, *given[:1]]

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        return self._inner.call(content, blobs)

    def problems(self) -> list[str]:
        return self._inner.problems()

    def cancel(self) -> None:
        self._inner.cancel()

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def three_workers() -> Iterator[LocalExecutor]:
    executor = LocalExecutor(3)
    yield executor
    executor.close()


@pytest.fixture(scope="module")
def dask() -> Iterator[DaskExecutor]:
    executor = DaskExecutor(workers=2)
    yield executor
    executor.close()


@pytest.mark.full
def test_a_disturbed_run_gives_the_same_bits(two_steps: Analysis, local: LocalExecutor, tmp_path: Path) -> None:
    """One of the disturbances of the next test."""
    quiet = portico.run(two_steps, folder=tmp_path / "quiet", executor=local)
    disturbed(two_steps, local, tmp_path / "run", quiet, seed=3, interrupt=8)


@pytest.mark.full
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), which=st.integers(0, 2), interrupt=st.one_of(st.none(), st.integers(0, 20)))
def test_results_are_equal_bit_for_bit(
    two_steps: Analysis,
    local: LocalExecutor,
    three_workers: LocalExecutor,
    dask: DaskExecutor,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    which: int,
    interrupt: int | None,
) -> None:
    quiet = portico.run(two_steps, folder=tmp_path_factory.getbasetemp() / "reference", executor=local)
    inner: Executor = (local, three_workers, dask)[which]
    disturbed(two_steps, inner, tmp_path_factory.mktemp("unruly") / "run", quiet, seed, interrupt)


def disturbed(
    analysis: Analysis, inner: Executor, folder: Path, quiet: portico.Run, seed: int, interrupt: int | None
) -> None:
    """Run on an unruly executor, interrupted once or not, and compare with the quiet run."""
    if interrupt is not None:
        with pytest.raises(KeyboardInterrupt):
            portico.run(analysis, folder=folder, executor=Unruly(inner, seed, interrupt))
    run = portico.run(analysis, folder=folder, executor=Unruly(inner, seed))
    for step in ("keep", "fill"):
        assert numbers_of(run, step) == numbers_of(quiet, step)


def test_only_what_changed_runs_again(two_steps: Analysis, local: LocalExecutor, tmp_path: Path) -> None:
    module = two_steps.folder / "mysteps.py"
    (two_steps.folder / "unrelated.py").write_text("a = 1\n")

    def ran() -> dict[str, int]:
        reporter = Remember()
        portico.run(portico.load_analysis(two_steps.folder), folder=tmp_path / "run", executor=local, reporter=reporter)
        return reporter.ran

    assert ran() == {"keep": 21, "fill": 21}
    (two_steps.folder / "unrelated.py").write_text("# a comment\na = 2\n")
    module.write_text("# a comment\n" + CODE.replace('"""Steps of a test."""', '"""Others."""'))
    assert ran() == {"keep": 0, "fill": 0}
    yaml = two_steps.folder / "analysis.yaml"
    yaml.write_text(yaml.read_text().replace('"mysteps:fill"', '"mysteps:fill", options: {scale: 2.0}'))
    assert ran() == {"keep": 0, "fill": 21}
    module.write_text(CODE.replace("x > 2", "x > 3"))
    assert ran() == {"keep": 21, "fill": 21}
    gone = next((tmp_path / "run" / "keep" / "a").glob("*.root"))
    gone.unlink()
    assert ran() == {"keep": 1, "fill": 1}


PLAIN = """
import ROOT


def anything(frame, sample):
    options = ROOT.RDF.RSnapshotOptions()
    options.fOutputFormat = ROOT.RDF.ESnapshotOutputFormat.kTTree
    frame = frame.DefinePerSample("scale", "2.0").Define("k", lambda n: 2 * n, ["n"]).Redefine("x", "x * scale")
    some = frame.Filter(lambda k: k > 2, ["k"], "by Python").Alias("alias", "k")
    return {
        "written": some.Snapshot("Some", "some.root", ["alias", "x"], options),
        "first": frame.Range(3).Count(),
        "largest": some.Max("alias"),
        "x": some.AsNumpy(["x"]),
        "cutflow": some.Report(),
    }
"""


def test_every_operation_works_since_the_frame_is_a_plain_one(
    make_analysis: Callable[..., Analysis], single: LocalExecutor, events: Path, tmp_path: Path
) -> None:
    step = '  - {name: any, function: "mysteps:anything", chunk: 50 entries}'
    analysis = make_analysis(PLAIN, step, f'    a: {{files: "{events}/events0.root"}}')
    results = portico.run(analysis, folder=tmp_path / "run", executor=single)["any"]["a"]
    with uproot.open(events / "events0.root") as file:
        x, n = file["Events"]["x"].array(library="np"), file["Events"]["n"].array(library="np")
    assert results["x"]["x"].tolist() == (2 * x[2 * n > 2]).tolist()
    assert results["first"] == 15  # of each of the five chunks: Range counts within a chunk
    assert results["largest"] == 8
    assert results["cutflow"].passed == ((2 * n > 2).sum(),)
    with uproot.open(results["written"][0]) as file:
        assert file.classnames()["Some;1"] == "TTree"
        assert set(file["Some"].keys()) == {"alias", "x"}
    assert [Path(item["path"]).name for item in manifest(tmp_path / "run" / "any" / "a")] == [
        Path(path).name for path in results["written"]
    ]


WITHOUT_NUMBA = """
import sys


def python(frame, sample):
    held = sys.modules.get("numba")
    sys.modules["numba"] = None  # as if it were not installed
    try:
        return {"n": frame.Filter(lambda x: x > 2, ["x"]).Count()}
    finally:
        sys.modules.pop("numba") if held is None else sys.modules.update(numba=held)
"""


def test_a_python_function_without_numba_names_the_extra(
    make_analysis: Callable[..., Analysis], single: LocalExecutor, events: Path, tmp_path: Path
) -> None:
    step = '  - {name: python, function: "mysteps:python"}'
    analysis = make_analysis(WITHOUT_NUMBA, step, f'    a: {{files: "{events}/events0.root"}}')
    with pytest.raises(StepError, match=r"Filter with a Python function needs the extra 'numba'.*portico-hep\[numba\]"):
        portico.run(analysis, folder=tmp_path / "run", executor=single)


def manifest(folder: Path) -> list[dict[str, str]]:
    content = json.loads((folder / "manifest.json").read_text())
    assert content["written"]["format"] == "TTree"
    return list(content["written"]["files"])


HEADER = "#ifndef H\n#define H\ninline double times(double x) { return FACTOR * x; }\n#endif\n"
WITH_HEADER = """
from portico import step


@step(headers=["times.h"])
def total(frame, sample):
    return {"total": frame.Define("t", "times(n)").Sum("t")}
"""


def test_an_edited_header_changes_the_result_in_live_workers(
    make_analysis: Callable[..., Analysis], single: LocalExecutor, events: Path, tmp_path: Path
) -> None:
    sums = []
    for factor in ("1", "3"):
        analysis = make_analysis(
            WITH_HEADER,
            '  - {name: total, function: "mysteps:total", chunk: 50 entries}',
            f'    a: {{files: "{events}/events0.root"}}',
            times__h=HEADER.replace("FACTOR", factor),
        )
        sums.append(portico.run(analysis, folder=tmp_path / "run", executor=single)["total"]["a"]["total"])
    assert sums[1] == 3 * sums[0] > 0


FAULTS = """
import os

import ROOT


def crash(frame, sample):
    def check(x):
        return True
    ROOT.gInterpreter.ProcessLine("#include <csignal>")
    return {"n": frame.Filter("if (event == 120) std::raise(SIGSEGV); return true;").Count()}


def throws(frame, sample):
    return {"n": frame.Filter("if (event == 120) throw std::runtime_error(\\"too bad\\"); return true;").Count()}


def wrong_column(frame, sample):
    return {"n": frame.Filter("xx > 2").Count()}


def nothing(frame, sample):
    frame.Count()


def eager(frame, sample):
    return {"n": frame.Count().GetValue()}


def local_entry(frame, sample):
    return {"n": frame.Filter("rdfentry_ % 2 == 0").Count()}


def no_model(frame, sample):
    return {"x": frame.Histo1D("x")}


def twins(frame, sample):
    return {"a": frame.Histo1D(("h", "", 2, 0, 1), "x"), "b": frame.Histo1D(("h", "", 2, 0, 1), "w")}


def reduced(frame, sample):
    return {"r": frame.Reduce("return x + y;" if False else "x", "x")} if False else {"d": frame.Display("x")}


def not_shipped(frame, sample):
    import json, pathlib
    return {"n": frame.Filter(json.loads((pathlib.Path(__file__).parent / "cut.json").read_text())).Count()}


def python_error(frame, sample):
    return {"n": frame.Count(), "m": undefined_name}
"""


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("wrong_column", ["mysteps.py:", "does not compile", "'xx'", "events0.root", "did you mean 'x'"]),
        ("throws", ["too bad"]),
        ("nothing", ["returned nothing", "mapping"]),
        ("eager", ["event loop", "GetValue", "mysteps.py:"]),
        ("local_entry", ["rdfentry_", "mysteps.py:"]),
        ("no_model", ["model", "mysteps.py:"]),
        ("twins", ["'a'", "'b'", "same name 'h'"]),
        ("reduced", ["'d'", "cannot be", "Histo1D"]),
        ("python_error", ["undefined_name", "mysteps.py:"]),
        ("not_shipped", ["/analysis/cut.json", "mysteps.py:"]),
    ],
)
def test_a_failing_step_is_told_once_and_stops(
    make_analysis: Callable[..., Analysis],
    single: LocalExecutor,
    events: Path,
    tmp_path: Path,
    function: str,
    words: list[str],
) -> None:
    analysis = make_analysis(
        FAULTS,
        f'  - {{name: bad, function: "mysteps:{function}", chunk: 50 entries}}',
        f'    a: {{files: "{events}/events0.root"}}',
    )
    with pytest.raises(StepError) as caught:
        portico.run(analysis, folder=tmp_path / "run", executor=single)
    message = str(caught.value)
    for word in ["step 'bad'", "sample 'a'", "entries", *words]:
        assert word in message
    assert "Traceback" not in message
    assert message.count("events0.root") <= 2


def test_a_chunk_that_kills_its_process_is_named_and_the_rest_is_finished(
    make_analysis: Callable[..., Analysis], single: LocalExecutor, events: Path, tmp_path: Path
) -> None:
    analysis = make_analysis(
        FAULTS,
        '  - {name: bad, function: "mysteps:crash", chunk: 50 entries}',
        f'    a: {{files: "{events}/events0.root"}}',
    )
    reporter = Remember()
    with pytest.raises(WorkerError, match=r"events0\.root entries 100-149.*SIGSEGV"):
        portico.run(analysis, folder=tmp_path / "run", executor=single, reporter=reporter)
    assert reporter.advanced == 4
    assert sum("trying again" in warning for warning in reporter.warnings) == 2
    partial = portico.run(analysis, folder=tmp_path / "run", executor=single, allow_partial=True)
    assert partial.partial
    assert partial["bad"]["a"]["n"] == 200


def damage(source: Path, target: Path) -> Path:
    """Overwrite the middle of a file, where the baskets are."""
    data = bytearray(source.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 400] = bytes(random.Random(3).randbytes(400))
    target.write_bytes(data)
    return target


def test_a_damaged_file_is_named_and_gives_no_wrong_number(
    make_analysis: Callable[..., Analysis], single: LocalExecutor, events: Path, tmp_path: Path
) -> None:
    bad = damage(events / "events1.root", tmp_path / "damaged.root")
    code = "import ROOT\nROOT.gErrorIgnoreLevel = ROOT.kFatal + 1\n"
    code += 'def total(frame, sample):\n    return {"x": frame.Sum("x"), "w": frame.Sum("w"), "n": frame.Sum("n")}\n'
    analysis = make_analysis(
        code, '  - {name: total, function: "mysteps:total"}', f'    a: {{files: ["{events}/events0.root", "{bad}"]}}'
    )
    with pytest.raises((InputError, WorkerError), match=r"damaged\.root"):
        portico.run(analysis, folder=tmp_path / "run", executor=single)


def test_a_replaced_file_and_a_truncated_one_are_noticed(
    make_analysis: Callable[..., Analysis], single: LocalExecutor, events: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.root"
    copy.write_bytes((events / "events0.root").read_bytes())
    code = 'def total(frame, sample):\n    return {"x": frame.Sum("x")}\n'
    analysis = make_analysis(
        code, '  - {name: total, function: "mysteps:total", chunk: 50 entries}', f'    a: {{files: "{copy}"}}'
    )
    first = portico.run(analysis, folder=tmp_path / "run", executor=single)["total"]["a"]["x"]
    copy.write_bytes((events / "events1.root").read_bytes())
    reporter = Remember()
    second = portico.run(analysis, folder=tmp_path / "run", executor=single, reporter=reporter)["total"]["a"]["x"]
    assert reporter.ran["total"] == 5
    assert first != second
    copy.write_bytes((events / "events2.root").read_bytes()[:-500])
    with pytest.raises(InputError, match=r"truncated|damaged"):
        portico.run(analysis, folder=tmp_path / "run", executor=single)


def test_one_file_with_other_columns_is_pointed_out(
    make_analysis: Callable[..., Analysis], single: LocalExecutor, events: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.root"
    with uproot.recreate(other) as file:
        file["Events"] = {"x": np.zeros(5), "w": np.zeros(5, np.float32), "event": np.zeros(5, np.uint64)}
    code = 'def total(frame, sample):\n    return {"n": frame.Filter("n > 1").Count()}\n'
    analysis = make_analysis(
        code, '  - {name: total, function: "mysteps:total"}', f'    a: {{files: ["{events}/events0.root", "{other}"]}}'
    )
    with pytest.raises(StepError, match=r"other\.root[\s\S]*column 'n' is missing"):
        portico.run(analysis, folder=tmp_path / "run", executor=single)


def test_a_run_folder_has_one_owner_at_a_time(two_steps: Analysis, local: LocalExecutor, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    caught: list[PorticoError] = []

    def intrude(advanced: int) -> None:
        if advanced == 1:
            with pytest.raises(RunFolderError, match="in use") as error:
                portico.run(two_steps, folder=folder, executor=local)
            caught.append(error.value)

    portico.run(two_steps, folder=folder, executor=local, reporter=Remember(intrude))
    assert caught
    with pytest.raises(RunFolderError, match="belongs to the analysis 'test'"):
        portico.run(two_steps.model_copy(update={"name": "another"}), folder=folder, executor=local)
    stranger = tmp_path / "home"
    stranger.mkdir()
    (stranger / "thesis.tex").write_text("precious")
    with pytest.raises(RunFolderError, match="something other than a run"):
        portico.run(two_steps, folder=stranger, executor=local)


def test_every_metric_that_a_runner_reports_is_declared(
    two_steps: Analysis, local: LocalExecutor, tmp_path: Path
) -> None:
    portico.run(two_steps, folder=tmp_path / "run", executor=local)
    ledger = RunFolder(tmp_path / "run").open_ledger()
    found = [metrics for name, *_ in ledger.steps() for _, _, metrics in ledger.metrics(name)]
    ledger.close()
    assert found
    assert all(metrics.keys() == METRICS.keys() - {"worker"} for metrics in found)


DRIVER = """
import sys
import portico
portico.run(portico.load_analysis(sys.argv[1]), folder=sys.argv[2], workers=1)
"""


def chunks_done(folder: Path, step: str) -> int:
    """Look into the ledger of a running driver."""
    if not (folder / "run.json").exists():
        return 0
    try:
        ledger = RunFolder(folder).open_ledger()
    except RunFolderError:  # not made yet
        return 0
    count = len(ledger.done(step))
    ledger.close()
    return count


@pytest.mark.parametrize("sent", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.full)])
def test_a_killed_driver_resumes(
    two_steps: Analysis, local: LocalExecutor, tmp_path: Path, sent: signal.Signals
) -> None:
    slow = CODE.replace("import ROOT\n", "import ROOT, time; time.sleep(0.2)\n")
    (two_steps.folder / "mysteps.py").write_text(slow)
    folder = tmp_path / "run"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(two_steps.folder), str(folder)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    deadline = time.monotonic() + 120
    while chunks_done(folder, "fill") < 3:
        assert time.monotonic() < deadline, driver.communicate()
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.05)
    driver.send_signal(sent)
    driver.communicate(timeout=30)
    reporter = Remember()
    run = portico.run(two_steps, folder=folder, executor=local, reporter=reporter)
    assert reporter.ran["keep"] == 0
    assert reporter.ran["fill"] < 21
    quiet = portico.run(two_steps, folder=tmp_path / "quiet", executor=local)
    assert numbers_of(run, "fill") == numbers_of(quiet, "fill")


@pytest.mark.full
def test_killed_workers_are_replaced(two_steps: Analysis, tmp_path: Path, local: LocalExecutor) -> None:
    executor = LocalExecutor(2)

    def kill(advanced: int) -> None:
        if advanced in {5, 12, 30}:
            busy = next(runner for runner in executor._runners if runner._process is not None)
            assert busy._process is not None
            os.kill(busy._process.pid, signal.SIGKILL)

    try:
        run = portico.run(two_steps, folder=tmp_path / "run", executor=executor, reporter=Remember(kill))
    finally:
        executor.close()
    quiet = portico.run(two_steps, folder=tmp_path / "quiet", executor=local)
    assert numbers_of(run, "fill") == numbers_of(quiet, "fill")


def test_a_full_disk_stops_the_run_and_loses_nothing(two_steps: Analysis, local: LocalExecutor, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=10g", "none", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk can only be mounted by root")

    def resize(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)

    def fill_up(advanced: int) -> None:
        if advanced == 3:
            resize("280k")

    try:
        with pytest.raises(portico.errors.SpaceError, match=r"no space|full"):
            portico.run(two_steps, folder=disk / "run", executor=local, reporter=Remember(fill_up))
        with pytest.raises(PorticoError, match=r"kB free; .*free some space, or choose another folder with --run"):
            portico.run(two_steps, folder=disk / "run", executor=local)
        resize("10g")
        reporter = Remember()
        run = portico.run(two_steps, folder=disk / "run", executor=local, reporter=reporter)
        assert reporter.ran["keep"] < 21
        quiet = portico.run(two_steps, folder=tmp_path / "quiet", executor=local)
        assert numbers_of(run, "fill") == numbers_of(quiet, "fill")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_order_of_samples_is_that_of_the_analysis(
    make_analysis: Callable[..., Analysis], events: Path, local: LocalExecutor, tmp_path: Path
) -> None:
    names = ["zeta", "alpha", "mid"]
    samples = "\n".join(f'    {n}: {{files: "{events}/events0.root"}}' for n in names)
    analysis = make_analysis(CODE, STEPS, samples)
    folder = tmp_path / "run"

    def orders() -> set[tuple[str, ...]]:
        run, status = portico.load(folder), read_status(folder)
        found = {tuple(run[step]) for step in run} | {tuple(step.samples) for step in status.steps}
        return found | {tuple(of.read) for of in run.version.steps.values()}

    portico.run(analysis, folder=folder, executor=local, samples=["mid", "alpha"])
    portico.run(analysis, folder=folder, executor=local)
    assert orders() == {tuple(names)}
    again = analysis.with_options("fill", scale=2.0)
    portico.run(again, folder=folder, executor=local, samples=["zeta"], steps=["fill"])
    with pytest.warns(UserWarning, match="other options"):
        assert orders() == {tuple(names)}


def test_results_show_themselves_as_tables(two_steps: Analysis, local: LocalExecutor, tmp_path: Path) -> None:
    run = portico.run(two_steps, folder=tmp_path / "run", executor=local)
    words = [line.split() for line in repr(run).splitlines()]
    assert words[1:] == [
        ["step", "kind", "state", "samples", "entries"],
        ["keep", "frame", "done", "2", "1,000"],
        ["fill", "frame", "done", "2", f"{run['keep']['a']['cutflow'].passed[0]}"],
    ]
    rows = [line.split() for line in repr(run["keep"]).splitlines()[1:]]
    assert rows == [["sample", "products"], ["a", "5"], ["b", "5"]]
    assert "of 1,000 pass" in repr(run["keep"]["a"])
    assert "systematic variations of these" in repr(run["fill"]["a"])
    assert "x &gt; 2" in run["keep"]["a"].cutflows._repr_html_()
    for shown in (run, run["fill"], run["fill"]["a"]):
        assert "<table>" in shown._repr_html_()


def test_names_that_do_not_exist_have_neighbours(two_steps: Analysis, local: LocalExecutor, tmp_path: Path) -> None:
    run = portico.run(two_steps, folder=tmp_path / "run", executor=local)
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: run["kep"], "keep"), (lambda: run["keep"]["A"], "a"), (lambda: run.summary("fil"), "fill"),
        (lambda: run["keep"]["a"]["cutflw"], "cutflow"), (lambda: run["fill"]["a"].root["Z"], "z"),
        (lambda: run["fill"]["a"].variations("sun"), "sum"), (lambda: run.file("fil", "x"), "fill"),
    ]  # fmt: skip
    for ask, name in wrong:
        with pytest.raises(KeyError, match=f"did you mean '{name}'"):
            ask()
