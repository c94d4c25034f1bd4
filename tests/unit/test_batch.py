"""Plain batch without a batch system: how chunks are grouped, what lies on the disk, whom a lost job is blamed on."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import portico
from portico.analysis.analysis import Analysis
from portico.analysis.chunks import Chunk
from portico.cli import cli
from portico.cli.tables import show_status
from portico.clusters.queues import htcondor, slurm
from portico.clusters.queues.base import BatchJob, JobState, mebibytes
from portico.clusters.queues.submission import Submission, cancel, submissions
from portico.clusters.site import Site
from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials
from portico.errors import ConfigError, Detached, PorticoError, WorkerError
from portico.executors import base, batch, batchjobs
from portico.executors.batch import BatchExecutor, batch_script, group_size
from portico.executors.job import _aside, read_outcome, write_outcome
from portico.monitor.status import read_status
from portico.results.partial import encode
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Attempt, Planned
from portico.runfolder.tidy import remove_leftovers, tree_name
from portico.step import Needs
from portico.worker.task import Done, Failed, FailureKind, Task
from portico.workflow.dry_run import preview

SITE = Site(name="here", kind="slurm", workers=2, memory="1 GB", patience=0.1)
BUNDLE = Bundle("m:f", Needs(), (), {}, {}, "d" * 64, "c" * 64, b"zip")


def task(key: str, folder: str = "/nowhere") -> Task:
    return Task(key, 1, Chunk("f.root", "u", "Events", 0, 10), "m:f", {"name": "a"}, {}, folder)


class Desk:
    """A batch system on which nothing runs but what a test writes down."""

    name = "Desk"
    limit = 1000

    def __init__(self) -> None:
        self.submitted: list[BatchJob] = []
        self.told: dict[str, JobState] = {}
        self.removed: list[str] = []
        self.refuses = ""

    def script(self, job: BatchJob) -> str:
        return job.name

    def submit(self, job: BatchJob) -> list[str]:
        if self.refuses:
            raise WorkerError(self.refuses)
        self.submitted.append(job)
        ids = [f"{len(self.submitted)}.{number}" for number in range(job.count)]
        self.told |= {name: JobState(name, "idle", "no slot") for name in ids}
        return ids

    def states(self, ids: Iterable[str]) -> dict[str, JobState]:
        return {name: self.told[name] for name in ids}

    def remove(self, ids: Iterable[str]) -> None:
        for name in ids:
            self.removed.append(name)
            self.end(name, "removed")

    def end(self, name: str, reason: str, **more: Any) -> None:
        self.told[name] = JobState(name, "ended", reason, **more)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk()
    for module in ("portico.executors.batchjobs", "portico.clusters.queues.submission", "portico.monitor.batch"):
        monkeypatch.setattr(f"{module}.queue_of", lambda _: made)
    return made


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a plan of six chunks."""
    folder = tmp_path / "run"
    with RunFolder(folder).claim({"analysis": "test"}) as (_, ledger):
        planned = [Planned("a", n, key, task(key).chunk) for n, key in enumerate("abcdef")]
        ledger.plan("select", 0, "frame", {"a": planned}, others=False)
        ledger.set_state("select", "interrupted")
    return folder


Opened = Any


@pytest.fixture
def opened(desk: Desk, run: Path) -> Iterator[Opened]:
    """A function that opens an executor that asks all the time."""
    made = []

    def make(**options: Any) -> BatchExecutor:
        executor = BatchExecutor(SITE, run, **{"poll": 0, "grace": 0, **options})
        made.append(executor)
        executor.prepare(BUNDLE)
        return executor

    yield make
    for executor in made:
        executor.close()


def submit(executor: BatchExecutor, keys: str) -> None:
    for key in keys:
        executor.submit(task(key))


def outcomes(executor: BatchExecutor, rounds: int = 2) -> dict[str, str]:
    """Return what came in a few rounds, by key: done or the kind of failure."""
    found = [outcome for _ in range(rounds) for outcome in executor.wait(0)]
    return {o.task.key: o.kind if isinstance(o, Failed) else "done" for o in found}


def finish(submission: Submission, keys: str) -> None:
    for key in keys:
        write_outcome(submission.outcomes / key, Done(task(key), encode({}), {"wall": 1.0}))


def note(submission: Submission, job: int, key: str) -> None:
    submission.note(job).write_text(f'{{"task": "{key}"}}')


def only(run: Path) -> Submission:
    (found,) = submissions(run)
    return found


@given(st.integers(1, 100_000), st.integers(1, 1000))
def test_groups_are_as_many_as_workers_or_small(chunks: int, workers: int) -> None:
    size = group_size(chunks, workers)
    jobs = -(-chunks // size)
    assert 1 <= size <= 100
    assert jobs <= workers or size == 100
    assert group_size(chunks, workers, 7) == 7


def test_all_that_was_taken_goes_with_one_submission(desk: Desk, opened: Opened, run: Path) -> None:
    executor = opened()
    submit(executor, "abcde")
    assert outcomes(executor) == {}
    (job,) = desk.submitted
    assert job.count == 2
    assert only(run).keys == [["a", "b", "c"], ["d", "e"]]
    assert stat.S_IMODE(only(run).folder.stat().st_mode) == 0o700  # tasks have URLs, in which there may be tokens
    assert job.command[-1] == str(run / "batch.jobs" / "1")
    assert only(run).ids == ["1.0", "1.1"]
    assert executor.workers == 2


def test_more_jobs_than_one_submission_may_have(desk: Desk, opened: Opened, run: Path) -> None:
    desk.limit = 2
    executor = opened(chunks_per_job=1)
    submit(executor, "abcde")
    executor.wait(0)
    assert [job.count for job in desk.submitted] == [2, 2, 1]


def test_what_ended_is_collected_once_and_by_another_process(desk: Desk, opened: Opened, run: Path) -> None:
    first = opened(detach=True)
    submit(first, "abcd")
    with pytest.raises(Detached, match="2 jobs of Desk with 4 chunks go on"):
        first.wait(0)
    first.close()
    finish(only(run), "ac")
    second = opened(detach=True)
    submit(second, "abcd")
    assert outcomes(second, 1) == {"a": "done", "c": "done"}
    with pytest.raises(Detached, match="2 jobs of Desk with 2 chunks"):
        second.wait(0)
    assert len(desk.submitted) == 1
    finish(only(run), "bd")
    for name in ("1.0", "1.1"):
        desk.end(name, "")
    assert outcomes(second, 1) == {"b": "done", "d": "done"}
    assert desk.removed == []


def test_large_results_are_collected_a_few_at_a_time_and_none_is_lost(
    desk: Desk, opened: Opened, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_BYTES", 2 * base._LEAST)
    executor = opened()
    submit(executor, "abcde")
    executor.wait(0)
    finish(only(run), "abcde")
    for name in ("1.0", "1.1"):
        desk.end(name, "")
    rounds = [outcomes(executor, 1) for _ in range(4)]
    assert [len(of) for of in rounds] == [2, 2, 1, 0]
    assert {kind for of in rounds for kind in of.values()} == {"done"}


def test_how_many_results_come_at_a_time_depends_on_their_size() -> None:
    portion = base.Portion()
    before = portion.count
    portion.learn([Done(task("a"), bytes(16)), Failed(task("b"), FailureKind.LOST, "why")])
    assert portion.count == before == 64
    portion.learn([Done(task("a"), bytes(2**26)), Done(task("b"), bytes(1))])
    assert portion.count == 4
    portion.learn([Done(task("c"), bytes(2**28 + 1))])
    assert portion.count == 1


STEP = """
def fill(frame, sample):
    return {"n": frame.Count()}
"""
ENTRY = "  - {name: fill, function: 'mysteps:fill', chunk: 10 entries}"


def test_python_submits_and_leaves_as_the_command_does(
    desk: Desk, make_analysis: Callable[..., Analysis], tmp_path: Path
) -> None:
    analysis, folder = make_analysis(STEP, ENTRY, "    a: {entries: 60}"), tmp_path / "batch"
    with pytest.raises(Detached, match="3 jobs of Desk with 6 chunks go on without this process"):
        portico.run(analysis, folder=folder, on="slurm", batch=True, detach=True, chunks_per_job=2)
    assert [job.count for job in desk.submitted] == [3]
    assert read_status(folder).steps[0].state == "interrupted"


def test_an_interrupted_run_says_what_goes_on(
    desk: Desk, make_analysis: Callable[..., Analysis], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Iterable[str]) -> dict[str, JobState]:
        raise KeyboardInterrupt

    monkeypatch.setattr(desk, "states", interrupted)
    make_analysis(STEP, ENTRY, "    a: {entries: 60}")
    command = ["run", str(tmp_path / "analysis"), "--run", str(tmp_path / "batch"), "--on", "slurm", "--batch"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 130
    jobs, interrupt = result.stderr.index("of Desk with 6 chunks go on"), result.stderr.index("interrupted; what")
    assert jobs < interrupt


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"detach": True}, "--detach goes with --batch"),
        ({"chunks_per_job": 3}, "chunks_per_job with batch"),
        ({"on": "slurm", "batch": True, "chunks_per_job": 0}, "0 chunks per job"),
        ({"batch": True}, "no batch jobs can go to 'local'"),
        ({"on": "kubernetes", "batch": True}, "kind 'kubernetes', which has no batch jobs"),
        ({"workers": 0}, "0 workers"),
        ({"on": "slrum"}, "did you mean 'slurm'"),
        ({"steps": ["fil"]}, "no step 'fil'; did you mean 'fill'"),
        ({"samples": ["b*"]}, r"no sample 'b\*'"),
        ({"unblind": True}, "nothing to unblind"),
    ],
)
def test_options_are_checked_before_anything_is_written(
    make_analysis: Callable[..., Analysis], tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    analysis, folder = make_analysis(STEP, ENTRY, "    a: {entries: 60}"), tmp_path / "run"
    for function in (portico.run, preview):
        with pytest.raises(ConfigError, match=words):
            function(analysis, folder=folder, **options)
    assert not folder.exists()


def test_options_of_an_executor_go_to_connect(make_analysis: Callable[..., Analysis], tmp_path: Path) -> None:
    with closing(portico.connect("local", 1)) as executor, pytest.raises(ConfigError, match=r"portico\.connect"):
        portico.run(make_analysis(STEP, ENTRY, "    a: {entries: 60}"), executor=executor, detach=True)


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "of another"])
def test_a_damaged_outcome_is_a_lost_one(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a"
    write_outcome(path, Done(task("a"), b"0123456789" * 100, {"wall": 1.5}))
    assert read_outcome(path, task("a")) == Done(task("a"), b"0123456789" * 100, {"wall": 1.5})
    written = bytearray(path.read_bytes())
    written[-5] ^= 1
    content = {"empty": b"", "cut": bytes(written[:-1]), "changed": bytes(written)}
    if damage in content:
        path.write_bytes(content[damage])
    found = read_outcome(path, task("b" if damage == "of another" else "a"))
    assert isinstance(found, Failed)
    assert found.kind == "lost"
    assert "damaged" in found.message or "another chunk" in found.message


def test_a_failure_is_kept_with_all_it_says(tmp_path: Path) -> None:
    failed = Failed(task("a"), "input", "bad file", "log", {"wall": 2.0})
    write_outcome(tmp_path / "a", failed)
    assert read_outcome(tmp_path / "a", task("a")) == failed
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_lost_job_is_blamed_on_the_chunk_it_worked_on(desk: Desk, opened: Opened, run: Path) -> None:
    executor = opened()
    submit(executor, "abcdef")
    executor.wait(0)
    finish(only(run), "a")
    note(only(run), 0, "b")
    (only(run).folder / "0.err").write_text("something\nthe last line\n")
    desk.end("1.0", "killed by signal 9")
    found = [outcome for _ in range(3) for outcome in executor.wait(0)]
    assert [outcome.task.key for outcome in found] == ["a", "b"]
    lost = found[1]
    assert isinstance(lost, Failed)
    assert (lost.kind, lost.message) == (
        "lost", "job 1.0 of Desk ended without a result: killed by signal 9; it printed: the last line"
    )  # fmt: skip
    executor.submit(replace(task("b"), attempt=2))
    executor._queued_at -= 10  # it waits a little for more
    executor.wait(0)
    again = list(submissions(run))[1]
    assert [key for keys in again.keys for key in keys] == ["c", "b"]  # c had not begun: no attempt is counted
    assert [key for job in executor.alive for key in job.keys] == ["d", "e", "f", "c", "b"]


@pytest.mark.parametrize(
    ("cause", "kind", "words"),
    [
        ("memory", "memory", "it may use 1 GB"),
        ("walltime", "timeout", "--chunks-per-job"),
        ("", "space", "no space left"),
    ],
)
def test_what_a_job_had_too_little_of(
    desk: Desk, opened: Opened, run: Path, cause: Any, kind: str, words: str
) -> None:
    executor = opened(grace=0.05)
    submit(executor, "ab")
    executor.wait(0)
    note(only(run), 0, "a")
    (only(run).folder / "0.err").write_text("OSError: [Errno 28] No space left on device" if kind == "space" else "")
    desk.told["1.0"] = JobState("1.0", "held" if cause else "ended", "said so", cause)
    (found,) = [outcome for _ in range(10) for outcome in executor.wait(0.02)]
    assert isinstance(found, Failed)
    assert found.kind == kind
    assert words in found.message
    assert desk.removed == (["1.0"] if cause else [])  # held for good


def test_jobs_that_end_before_they_begin_stop_the_run(desk: Desk, opened: Opened, run: Path) -> None:
    executor = opened(chunks_per_job=1)
    submit(executor, "abc")
    executor.wait(0)
    for number in range(3):
        (only(run).folder / f"{number}.err").write_text("No module named portico\n")
        desk.end(f"1.{number}", "exit status 1")
    with pytest.raises(WorkerError, match=r"(?s)end before they begin.*No module named portico.*check the site"):
        outcomes(executor)
    executor.cancel()


def test_held_and_idle_jobs_are_told_with_the_reason(desk: Desk, opened: Opened) -> None:
    executor = opened(chunks_per_job=1)
    submit(executor, "abc")
    executor.wait(0)
    desk.told["1.1"] = JobState("1.1", "held", "no disk (code 7)")
    executor.wait(0.2)
    executor.wait(0)
    held, idle = executor.problems()
    assert "1 of 3 jobs held by Desk (1.1): no disk (code 7); release them" in held
    assert "2 of 3 jobs idle (1.0): no slot" in idle
    desk.told["1.0"] = JobState("1.0", "running")
    executor.wait(0)
    assert len(executor.problems()) == 1  # some run: the others have to wait


def test_a_batch_system_that_is_away_for_a_while(desk: Desk, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = opened()
    submit(executor, "ab")
    executor.wait(0)

    def away(_: Iterable[str]) -> dict[str, JobState]:
        raise WorkerError("schedd is gone")

    with monkeypatch.context() as patch:
        patch.setattr(desk, "states", away)
        assert executor.wait(0) == []
        assert "schedd is gone" in executor.problems()
    executor.wait(0)
    assert "schedd is gone" not in executor.problems()


def test_a_refused_submission_leaves_nothing(desk: Desk, opened: Opened, run: Path) -> None:
    executor = opened()
    desk.refuses = "no such partition"
    submit(executor, "ab")
    with pytest.raises(WorkerError, match="no such partition"):
        executor.wait(0)
    assert list(submissions(run)) == []
    executor.cancel()


def test_cancel_from_another_terminal(desk: Desk, opened: Opened, run: Path) -> None:
    executor = opened()
    executor.send_credentials(Credentials({"token": b"secret"}))
    submit(executor, "abcd")
    executor.wait(0)
    finish(only(run), "a")
    desk.end("1.1", "")
    assert set(cancel(run)) == {"1.0"}
    assert desk.removed == ["1.0"]
    assert not (run / "batch.jobs" / "credentials").exists()
    with pytest.raises(WorkerError, match="removed by portico cancel"):
        outcomes(executor)
    executor.cancel()
    executor.close()
    again = opened()
    submit(again, "abcd")
    assert outcomes(again) == {"a": "done"}
    assert [key for keys in list(submissions(run))[-1].keys for key in keys] == ["b", "c", "d"]


def test_jobs_of_older_code_are_removed(desk: Desk, opened: Opened) -> None:
    executor = opened()
    submit(executor, "ab")
    executor.wait(0)
    executor._waiting.clear()
    executor.prepare(replace(BUNDLE, function="m:g", code="e"))
    assert desk.removed == []  # another step
    executor.prepare(replace(BUNDLE, code="e"))
    assert desk.removed == ["1.0", "1.1"]


def test_what_the_ledger_holds_is_removed_and_nothing_else(desk: Desk, opened: Opened, run: Path) -> None:
    executor = opened()
    submit(executor, "ab")
    executor.wait(0)
    place = only(run)
    finish(place, "ab")
    assert outcomes(executor) == {"a": "done", "b": "done"}
    for name in place.ids:
        desk.end(name, "")
    with RunFolder(run).claim({"analysis": "test"}) as (_, ledger):
        ledger.commit([(Attempt("a", 1, "done"), encode({}), [])], [])
    executor.close()
    assert place.ended() == {"b"}  # the ledger could not take it: nothing is lost
    again = opened()
    submit(again, "b")
    assert outcomes(again) == {"b": "done"}
    with RunFolder(run).claim({"analysis": "test"}) as (_, ledger):
        ledger.commit([(Attempt("b", 1, "done"), encode({}), [])], [])
    again.close()
    assert not (run / "batch.jobs").exists()


def test_trees_come_home(desk: Desk, opened: Opened, run: Path) -> None:
    executor = opened()
    home = run / "select" / "a"
    home.mkdir(parents=True)
    for key in "ab":
        executor.submit(task(key, str(home)))
    executor.wait(0)
    place = only(run)
    (place.trees / ".x.part.root").write_text("tree")
    for key, name in (("a", ".x.part.root"), ("b", ".gone.part.root")):
        file = {"product": "kept", "tree": "kept", "path": str(place.trees / name), "entries": 3}
        write_outcome(place.outcomes / key, Done(task(key), encode({}), {}, [file]))
    RunFolder(run).clean()  # of a driver that starts meanwhile
    assert outcomes(executor) == {"a": "done", "b": "lost"}
    assert (home / ".x.part.root").read_text() == "tree"


def test_a_tree_of_a_job_that_is_gone_from_the_store_is_made_again(
    desk: Desk, opened: Opened, run: Path, tmp_path: Path
) -> None:
    """A driver that was killed had given it its name, and the next one removed it."""
    executor, store = opened(), tmp_path / "store" / "select" / "a"
    store.mkdir(parents=True)
    for key in "ab":
        executor.submit(task(key, str(store)))
    executor.wait(0)
    (store / ".x.part.root").write_text("tree")
    for key, name in (("a", ".x.part.root"), ("b", ".gone.part.root")):
        file = {"product": "kept", "tree": "kept", "path": str(store / name), "entries": 3}
        write_outcome(only(run).outcomes / key, Done(task(key, str(store)), encode({}), {}, [file]))
    assert outcomes(executor) == {"a": "done", "b": "lost"}
    assert (store / ".x.part.root").read_text() == "tree"


@pytest.mark.parametrize("hidden", [True, False])
def test_trees_on_their_way_stay_if_jobs_go_on_without_a_driver(tmp_path: Path, hidden: bool) -> None:
    key, folder = "0123456789", tmp_path / "select" / "a"
    folder.mkdir(parents=True)
    on_its_way, begun, known, other = (
        folder / name
        for name in (f".{7:032x}.part.root", tree_name("kept", 0, key), tree_name("kept", 1, key), "other.root")
    )
    for path in (on_its_way, begun, known, other):
        path.touch()
    remove_leftovers(str(tmp_path), "select", [key], {str(known)}, hidden=hidden)
    assert on_its_way.exists() is not hidden
    assert not begun.exists()
    assert known.exists()
    assert other.exists()


def test_only_trees_of_the_run_folder_are_written_beside_the_jobs(tmp_path: Path) -> None:
    submission = Submission(tmp_path / "run" / "batch.jobs" / "1", SITE, [["a"]])
    inside = _aside(task("a", str(tmp_path / "run" / "select" / "a")), submission)
    assert inside.folder == str(submission.trees)
    for store in (str(tmp_path / "store" / "select" / "a"), "root://host:1094//store/select/a"):
        assert _aside(task("a", store), submission).folder == store


def test_credentials_are_private_and_replaced(desk: Desk, opened: Opened, run: Path) -> None:
    executor = opened()
    folder = run / "batch.jobs" / "credentials"
    executor.send_credentials(Credentials())
    assert not folder.exists()
    executor.send_credentials(Credentials({"token": b"old", "proxy": b"pem"}))
    executor.send_credentials(Credentials({"token": b"new"}))
    (path,) = folder.iterdir()
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    executor.close()
    assert not folder.exists()


def test_status_tells_jobs_and_results(
    desk: Desk, opened: Opened, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executor = opened(chunks_per_job=1)
    assert read_status(run).batch is None
    assert read_status(run).state == "interrupted"
    submit(executor, "abcd")
    executor.wait(0)
    finish(only(run), "a")
    desk.end("1.0", "")
    desk.told |= {"1.1": JobState("1.1", "held", "no disk"), "1.2": JobState("1.2", "running")}
    status = read_status(run)
    assert status.state == "submitted"
    assert status.to_json()["batch"] == {
        "site": "here", "jobs": {"running": 1, "idle": 1, "held": 1}, "chunks": 3, "results": 1, "lost": 0,
        "trouble": "", "reasons": [
            {"state": "held", "reason": "no disk", "jobs": ["1.1"]},
            {"state": "idle", "reason": "no slot", "jobs": ["1.3"]},
        ],
    }  # fmt: skip
    show_status(status)
    shown = capsys.readouterr().out
    assert "batch on here: 3 jobs (1 running, 1 idle, 1 held), 3 chunks to come, 1 results not collected" in shown
    assert "1 held (1.1): no disk" in shown
    assert f"--run {run} --on here --batch" in shown
    desk.end("1.2", "killed")
    assert read_status(run).to_json()["batch"]["lost"] == 1


def test_a_record_that_cannot_be_read_is_passed_over(run: Path) -> None:
    for name, text in (("1", "{"), ("2", "{}"), ("3", "[]"), ("x", "{}")):
        (run / "batch.jobs" / name).mkdir(parents=True)
        (run / "batch.jobs" / name / "submission.json").write_text(text)
    assert list(submissions(run)) == []


@pytest.mark.parametrize("name", ["--me", "-u me", "1 2", "1.0\n--me", "", "x"])
def test_names_of_jobs_are_no_options_of_a_command(desk: Desk, opened: Opened, run: Path, name: str) -> None:
    """``scancel --me`` would remove all jobs of the user, in the run folder of a stranger."""
    executor = opened()
    submit(executor, "ab")
    executor.wait(0)
    record = only(run).folder / "submission.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "ids": ["1.0", name]}))
    assert list(submissions(run)) == []
    assert cancel(run) == {}
    assert desk.removed == []


def test_a_copy_leaves_the_jobs_to_the_original(desk: Desk, opened: Opened, run: Path, tmp_path: Path) -> None:
    executor = opened()
    submit(executor, "ab")
    executor.wait(0)
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    assert only(copy).ids == ()
    assert cancel(copy) == {}
    assert read_batch_of(copy) is None
    assert desk.removed == []
    assert only(run).ids
    run.rename(tmp_path / "moved")
    assert only(tmp_path / "moved").ids, "the jobs of a folder that was moved are still its own"


def read_batch_of(folder: Path) -> object:
    return read_status(folder).batch


def test_trees_of_jobs_come_home_in_a_folder_that_was_moved(desk: Desk, opened: Opened, run: Path) -> None:
    executor = opened()
    home, moved = run / "select" / "a", run.with_name("moved")
    for key in "ab":
        executor.submit(task(key, str(home)))
    executor.wait(0)
    place = only(run)
    (place.trees / ".x.part.root").write_text("tree")
    for key, path in (("a", place.trees / ".x.part.root"), ("b", Path("/elsewhere/.y.part.root"))):
        file = {"product": "kept", "tree": "kept", "path": str(path), "entries": 3}
        write_outcome(place.outcomes / key, Done(task(key), encode({}), {}, [file]))
    run.rename(moved)
    (moved / "select" / "a").mkdir(parents=True)
    again = BatchExecutor(SITE, moved, poll=0, grace=0)
    again.prepare(BUNDLE)
    for key in "ab":
        again.submit(task(key, str(moved / "select" / "a")))
    found = outcomes(again)
    again.close()
    assert found == {"a": "done", "b": "lost"}, "a tree that lies in another folder is not this run's"
    assert (moved / "select" / "a" / ".x.part.root").read_text() == "tree"


def test_cancel_of_what_is_no_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(PorticoError, match=str(path)):
            cancel(path)


def test_a_job_with_one_core_gets_its_share(tmp_path: Path) -> None:
    text = "kind: slurm\ncores: 8\nmemory: 16 GiB\nwalltime: 02:00:00\nextra: {partition: cms}\n"
    (tmp_path / "big.yaml").write_text(text)
    script = batch_script(str(tmp_path / "big.yaml"), tmp_path / "a run")
    assert "#SBATCH --mem=2048M" in script
    assert "#SBATCH --cpus-per-task=1" in script
    assert "#SBATCH --time=02:00:00" in script
    assert "#SBATCH --partition=cms" in script
    assert f"'{tmp_path}/a run/batch.jobs/1' \"$SLURM_ARRAY_TASK_ID\"" in script


@pytest.mark.parametrize("on", ["local", "dask", "tcp://1.2.3.4:5"])
def test_batch_needs_a_site(on: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no batch jobs can go to"):
        batch.open_batch(on, tmp_path)


def test_jobs_wait_a_while_for_other_machines_than_those_that_failed() -> None:
    job = BatchJob("name", ("x",), 1, Path("/logs"), avoid=("bad1.site.example", "bad2"))
    site = Site(name="a", kind="htcondor")
    bad = '!regexp("^bad1([.]|$)", TARGET.Machine) && !regexp("^bad2([.]|$)", TARGET.Machine)'
    wanted = f"requirements = ({bad} || time() - MY.QDate > 300)\n"
    assert wanted in htcondor.HTCondor(site).script(job)
    own = site.model_copy(update={"extra": {"Requirements": "Memory > 1"}})
    assert wanted.replace("requirements = ", "Requirements = (Memory > 1) && ") in htcondor.HTCondor(own).script(job)
    assert "requirements" not in htcondor.HTCondor(site).script(replace(job, avoid=()))
    assert "#SBATCH --exclude=bad1,bad2\n" in slurm.Slurm(site).script(replace(job, avoid=("bad1", "bad2")))


def test_jobs_of_slurm_see_their_run_folder_in_an_image(tmp_path: Path) -> None:
    site = Site(name="s", kind="slurm", image="/images/portico.sif")
    job = batchjobs.job_of(site, tmp_path / "a run" / "batch.jobs" / "1", 1)
    script = slurm.Slurm(site).script(job)
    assert f"exec apptainer exec --bind '{tmp_path}/a run' /images/portico.sif python3 -P" in script
    assert "apptainer exec /images/portico.sif" in slurm.Slurm(site).script(replace(job, apart=True))


def test_htcondor_job_description() -> None:
    site = Site(
        name="c", kind="htcondor", memory="2 GB", disk="1 GiB", walltime="00:10:00", environment={"A": "it's \"b\" c"},
        extra={"+Group": '"cms"', "Request_Memory": "999"},
    )  # fmt: skip
    text = htcondor.HTCondor(site).script(BatchJob("name", ("python", "-m", "x", "/a b"), 3, Path("/logs")))
    lines = dict(line.split(" = ", 1) for line in text.splitlines()[:-1])
    assert text.splitlines()[-1] == "queue 3"
    assert lines["arguments"] == "\"python -m x '/a b' $(ProcId)\""
    assert lines["environment"] == "\"'A=it''s \"\"b\"\" c'\""
    assert lines["allowed_job_duration"] == "600"
    assert lines["request_disk"] == str(1024 * 1024)  # KiB
    assert lines["Request_Memory"] == "999"
    assert "request_memory" not in lines  # given by the site
    assert lines["+Group"] == '"cms"'


def test_htcondor_asks_for_these_jobs_alone() -> None:
    assert htcondor._constraint(["12.1", "12.0", "12.3", "7.0"]) == (
        "(ClusterId == 7 && ProcId >= 0 && ProcId <= 0) || (ClusterId == 12 && ProcId >= 0 && ProcId <= 1) || "
        "(ClusterId == 12 && ProcId >= 3 && ProcId <= 3)"
    )


# As Slurm 22.05 writes it with --Format; codes are those of wait(2) there, STATUS:SIGNAL in the accounting.
SQUEUE = """\
1_0|FAILED|JobLaunchFailure|9|
1_1|FAILED|NonZeroExitCode|768|
1_2|PENDING|Resources|0|
1_3|PENDING|JobHeldUser|0|
1_4|PENDING|PartitionTimeLimit|0|
1_5|RUNNING|None|0|
1_6|TIMEOUT|TimeLimit|0:15|
1_7|OUT_OF_MEMORY|OutOfMemory|0:125|
1_8|COMPLETED|None|0|
"""


def test_states_of_slurm() -> None:
    states = {name: slurm._state(name, *fields) for name, fields in slurm._table(SQUEUE).items()}
    assert {name: (state.state, state.cause) for name, state in states.items()} == {
        "1_0": ("ended", ""), "1_1": ("ended", ""), "1_2": ("idle", ""), "1_3": ("held", ""), "1_4": ("held", ""),
        "1_5": ("running", ""), "1_6": ("ended", "walltime"), "1_7": ("ended", "memory"), "1_8": ("ended", ""),
    }  # fmt: skip
    assert states["1_0"].reason == "FAILED (JobLaunchFailure, killed by signal 9)"
    assert states["1_1"].reason == "FAILED (NonZeroExitCode, exit status 3)"
    assert states["1_2"].reason == "Resources: no node is free"
    assert states["1_3"].reason == "JobHeldUser: release it with: scontrol release 1_3"
    assert states["1_8"].reason == "COMPLETED"


def test_slurm_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(WorkerError, match="no program 'squeue'"):
        slurm.Slurm(SITE).states(["1_0"])


@pytest.mark.parametrize(("text", "size"), [("2 GB", 1908), ("1 GiB", 1024), ("1 B", 1)])
def test_sizes(text: str, size: int) -> None:
    assert mebibytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1 GB", "0 GB"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValidationError, match="for example '2 GB'"):
        Site(name="here", kind="slurm", memory=text)
