"""Batch jobs without a shared disk, without a batch system: what is laid ready, what comes back, what is refused."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portico.analysis.chunks import Chunk
from portico.clusters.queues import htcondor, slurm
from portico.clusters.queues.base import BatchJob
from portico.clusters.queues.submission import Submission
from portico.clusters.site import Site, load_site
from portico.environment.bundle import Bundle
from portico.errors import ConfigError
from portico.executors import sandbox
from portico.executors.batch import batch_script
from portico.executors.batchjobs import Job, _brought_home
from portico.executors.job import write_outcome
from portico.executors.transfer import bring, job_apart, pack
from portico.results.partial import encode
from portico.step import Needs
from portico.worker.task import Done, Failed, FailureKind, Task

SITE = Site(name="far", kind="htcondor", filesystem="none", memory="1 GB", walltime="01:00:00")
BUNDLE = Bundle("m:f", Needs(), (), {}, {}, "d" * 64, "c" * 64, b"zip")
TREE = f".{7:032x}.part"


def task(key: str, file: str = "", folder: str = "/nowhere") -> Task:
    return Task(key, 1, Chunk(file, "u", "Events", 0, 10), "m:f", {"name": "a"}, {}, folder, source="id")


def make(folder: Path, *groups: list[Task], site: Site = SITE, url: str = "") -> Submission:
    made = Submission(folder / "run" / "batch.jobs" / "1", site, [[t.key for t in group] for group in groups], url=url)
    for place in (made.outcomes, made.trees, made.note(0).parent):
        place.mkdir(parents=True)
    pack(made, groups, BUNDLE)
    return made


@pytest.mark.parametrize(
    ("text", "told"),
    [("filesystem: sharde", "did you mean 'shared'?"), ("filesistem: none", "did you mean 'filesystem'?")],
)
def test_a_wrong_file_system_is_an_error_with_the_right_ones(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "far.yaml").write_text(f"kind: htcondor\n{text}\n")
    with pytest.raises(ConfigError, match=r"far\.yaml") as caught:
        load_site(str(tmp_path / "far.yaml"))
    assert told in str(caught.value)


def test_local_files_go_with_the_job_that_reads_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same name.root").write_text(name)
    files = [str(tmp_path / name / "same name.root") for name in ("a", "b")]
    made = make(tmp_path, [task("1", files[0]), task("2", files[1])], [task("3", "root://host//x.root")])
    told = [json.loads((made.job(number) / "in" / "tasks.json").read_text()) for number in (0, 1)]
    assert [(made.job(0) / "in" / told[0]["files"][file]).read_text() for file in files] == ["a", "b"]
    assert told[1]["files"] == {}
    moved = sandbox._local(task("1", files[0]), Path("/box"), told[0]["files"])
    assert moved.chunk.file == f"/box/{told[0]['files'][files[0]]}"
    assert (moved.folder, moved.source) == ("/box", ""), "a copy has another time, and its columns are not kept"
    far = sandbox._local(task("3", "root://host//x.root", "root://host//store"), Path("/box"), {})
    assert far == task("3", "root://host//x.root", "root://host//store")


def test_failures_name_the_file_of_the_user(tmp_path: Path) -> None:
    failed = Failed(task("1"), FailureKind.INPUT, "/box/12-x.root is damaged", "Error in /box/12-x.root")
    told = sandbox._named(failed, Path("/box"), {"/mine/x.root": "12-x.root"})
    assert isinstance(told, Failed)
    assert (told.message, told.log) == ("/mine/x.root is damaged", "Error in /mine/x.root")


def test_only_what_is_complete_is_not_run_again_after_an_eviction(tmp_path: Path) -> None:
    tasks = [task(key) for key in "abcd"]
    tree = {"product": "t", "tree": "t", "path": f"/elsewhere/{TREE}"}
    (tmp_path / TREE).write_text("tree")
    (tmp_path / f".{8:032x}.part.root").write_text("half")
    write_outcome(tmp_path / "outcome.a", Done(tasks[0], encode({}), {}, [tree]))
    write_outcome(tmp_path / "outcome.b", Done(tasks[1], encode({}), {}, [{**tree, "path": f".{9:032x}.part.root"}]))
    write_outcome(tmp_path / "outcome.c", Failed(tasks[2], FailureKind.CRASH, "died"))
    (tmp_path / "outcome.d").write_bytes((tmp_path / "outcome.a").read_bytes()[:-1])
    assert sandbox._done(tmp_path, tasks) == {"a"}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([TREE, "outcome.a"])


def come_back(made: Submission, tree: str, checksum: str) -> Any:
    (made.job(0) / TREE).write_text(tree)
    file = {"product": "t", "tree": "t", "path": f"/far/{TREE}", "adler32": checksum}
    done = Done(task("a", folder=str(made.folder.parents[1] / "select")), encode({}), {}, [file])
    write_outcome(made.job(0) / "outcome.a", done)
    (made.job(0) / "note.json").write_text('{"task": "b"}')
    assert made.returned([]) == set()
    assert made.returned([0]) == {"a"}
    bring(made, [])
    assert made.ended() == set(), "HTCondor may be writing it"
    bring(made, [0])
    bring(made, [0])
    assert made.ended() == {"a"}
    assert made.at(0) == {"task": "b"}
    (made.folder.parents[1] / "select").mkdir()
    return _brought_home(done, made)


def test_trees_that_come_back_are_checked(tmp_path: Path) -> None:
    found = come_back(make(tmp_path, [task("a"), task("b")]), "tree", f"{zlib.adler32(b'tree'):08x}")
    assert found.files[0]["path"] == f"{tmp_path}/run/select/{TREE}"
    assert (tmp_path / "run" / "select" / TREE).read_text() == "tree"


def test_a_tree_that_was_damaged_on_its_way_is_made_again(tmp_path: Path) -> None:
    found = come_back(make(tmp_path, [task("a"), task("b")]), "treee", f"{zlib.adler32(b'tree'):08x}")
    assert isinstance(found, Failed)
    assert found.kind is FailureKind.LOST
    assert "damaged on its way" in found.message


@pytest.mark.parametrize(
    ("at", "blamed"),
    [
        ({}, ["a", "b"]), ({"task": "b"}, ["b"]), ({"task": "gone"}, ["a"]), ({"stopped": True}, []),
        ({"host": "x"}, ["a"]),
    ],
)
def test_whom_the_end_of_a_job_is_blamed_on(at: dict[str, Any], blamed: list[str], tmp_path: Path) -> None:
    made = make(tmp_path, [task("a"), task("b")])
    made.note(0).write_text(json.dumps(at))
    assert Job(made, 0, ["a", "b"]).blamed(["a", "b"]) == blamed


def test_credentials_are_not_in_what_is_kept_of_a_submission(tmp_path: Path) -> None:
    """They go to HTCondor as an encrypted folder, and to Slurm on standard input."""
    secrets = tmp_path / "run" / "batch.jobs" / "credentials"
    secrets.mkdir(parents=True)
    (secrets / "token").write_text("SECRET")
    job = BatchJob("name", ("x",), 2, tmp_path / "run" / "batch.jobs" / "1")
    text = htcondor.HTCondor(SITE).script(job_apart(job, "", "python3"))
    assert "transfer_input_files = ../../bundle.json, ../../bundle.zip, ../../../credentials, in/\n" in text
    assert "HOME" not in text
    far = job_apart(job, "root://host//store/batch.jobs/1", "python3")
    assert "SECRET" not in repr(far)
    site = SITE.model_copy(update={"kind": "slurm"})
    assert "U0VDUkVU" in slurm.Slurm(site).script(far)  # base64
    assert "<<" not in slurm.Slurm(site).script(replace(far, secrets=""))


@pytest.mark.parametrize(
    ("kind", "told"),
    [("htcondor", "when_to_transfer_output = ON_EXIT_OR_EVICT"), ("slurm", "root://STORE/batch.jobs/1")],
)
def test_a_dry_run_shows_the_job(kind: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "far.yaml").write_text(f"kind: {kind}\nfilesystem: none\nimage: /cvmfs/image\n")
    script = batch_script(str(tmp_path / "far.yaml"), tmp_path / "run")
    assert told in script
    assert "python3 -P -m portico.executors.sandbox" in script


def test_slurm_refuses_local_files(tmp_path: Path) -> None:
    site = SITE.model_copy(update={"kind": "slurm"})
    with pytest.raises(ConfigError, match=f"{tmp_path}/x.root: is a file of this machine.*site 'far'"):
        make(tmp_path, [task("a", f"{tmp_path}/x.root")], site=site, url="root://host//store/batch.jobs/1")
