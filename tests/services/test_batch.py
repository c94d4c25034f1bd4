"""Plain batch jobs on real HTCondor and Slurm: submitted, left alone, collected, lost, held, removed."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import portico
from portico.runfolder.folder import RunFolder
from tests.conftest import numbers_of, write_events
from tests.services.farm.need import wait_for
from tests.services.farm.pool import HTCondorPool
from tests.services.farm.slurm import SlurmPool
from tests.services.farm.user import User, end

CHUNKS, JOBS = 10, 2
CODE = """
import time
from pathlib import Path

PLACE = Path("{place}")


def select(frame, sample):
    with (PLACE / "begun").open("a") as file:
        file.write("chunk\\n")
    while (PLACE / "wait").exists():
        time.sleep(0.05)
    kept = frame.Filter("x > 2", "x > 2").Define("y", "x * w")
    return {{
        "tree": kept.Snapshot("kept", "kept.root", ["x", "y", "n"]),
        "cutflow": kept.Report(),
        "n": frame.Count(),
        "sum": kept.Sum("y"),
        "y": kept.Histo1D(("y", "title;y;events", 30, 0, 15), "y", "w"),
    }}


def spectrum(frame, sample):
    return {{"y": frame.Histo1D(("y", "title;y;events", 10, 0, 15), "y"), "sum": frame.Sum("y")}}
"""
ANALYSIS = """
name: batch
dataset:
  samples:
    a: {{files: ["{place}/events*.root"]}}
steps:
  - {{name: select, function: "mysteps:select", chunk: 50 entries}}
  - {{name: spectrum, function: "mysteps:spectrum", input: select, chunk: 100000 entries}}
"""


DRIVERS: list[subprocess.Popen[str]] = []
"""Those that a test has started; none outlives it."""


@dataclass(frozen=True)
class Farm:
    """A batch system and its user."""

    kind: str
    pool: HTCondorPool | SlurmPool

    @property
    def user(self) -> User:
        return self.pool.user

    def queued(self, state: str = "") -> list[str]:
        """Return the jobs in the queue, all or those that are running (or held)."""
        if self.kind == "htcondor":
            numbers = {"": "True", "running": "JobStatus == 2", "held": "JobStatus == 5"}
            said = self.user.run(["condor_q", "-constraint", numbers[state], "-af:j", "JobStatus"]).stdout
            return [line.split()[0] for line in said.splitlines()]
        states = {"": "pending,running,completing", "running": "running", "held": "pending"}
        said = self.user.run(["squeue", "--array", "--noheader", "--format=%i", f"--states={states[state]}"]).stdout
        return said.split()

    def submissions(self) -> int:
        """Return how many submissions there have been."""
        if self.kind == "htcondor":
            said = self.user.run(["condor_history", "-limit", "1000", "-af", "ClusterId"]).stdout.split()
            said += self.user.run(["condor_q", "-af", "ClusterId"]).stdout.split()
        else:
            said = self.user.run(["squeue", "--states=all", "--noheader", "--format=%F"]).stdout.split()
        return len(set(said))


@dataclass(frozen=True)
class Place:
    """A run of the analysis on a farm."""

    farm: Farm
    folder: Path
    run: Path
    site: Path
    gate: Path

    def portico(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.farm.user.portico(*arguments, cwd=self.folder, **options)

    def command(self, *more: str) -> list[str | Path]:
        """Return the arguments that run the analysis in batch, five chunks a job."""
        return ["run", self.folder, "--run", self.run, "--on", self.site, "--batch", "--chunks-per-job", "5", *more]

    def start(self, *more: str) -> subprocess.Popen[str]:
        """Start a driver that waits for its jobs."""
        python = self.farm.user.python
        command = [python, "-m", "portico.cli", *self.command(*more)]
        with self.run.with_suffix(".said").open("w") as said:
            driver = self.farm.user.popen(command, cwd=self.folder, stdout=said, text=True)
        DRIVERS.append(driver)
        return driver

    @property
    def said(self) -> str:
        return self.run.with_suffix(".said").read_text()

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.portico("status", self.run, "--json").stdout))

    def hold_chunks(self) -> None:
        (self.gate / "wait").touch()

    def release_chunks(self) -> None:
        (self.gate / "wait").unlink()

    def ends(self, driver: subprocess.Popen[str], status: int = 0) -> None:
        assert driver.wait(120) == status, self.said

    def equals(self, quiet: dict[str, bytes]) -> None:
        """Check that all is there, exactly once, and that nothing is left over."""
        run = portico.load(self.run)
        assert {**numbers_of(run, "select"), **numbers_of(run, "spectrum")} == quiet
        assert len(list((self.run / "select" / "a").glob("*.root"))) == CHUNKS
        assert not list(self.run.rglob(".*"))
        assert not (self.run / "batch.jobs").exists()

    def attempts(self) -> list[tuple[str, str]]:
        """Return how the attempts that failed ended."""
        ledger = RunFolder(self.run).open_ledger()
        try:
            return [(attempt.outcome, attempt.message) for _, attempt, _ in ledger.failures("select")]
        finally:
            ledger.close()


@pytest.fixture(
    scope="module",
    params=[pytest.param("htcondor", marks=pytest.mark.htcondor), pytest.param("slurm", marks=pytest.mark.slurm)],
)
def farm(request: pytest.FixtureRequest) -> Farm:
    """Each of the two batch systems."""
    return Farm(request.param, request.getfixturevalue(f"{request.param}_pool"))


@pytest.fixture(scope="module")
def condor(htcondor_pool: HTCondorPool) -> Farm:
    return Farm("htcondor", htcondor_pool)


@pytest.fixture(scope="module")
def slurm(slurm_pool: SlurmPool) -> Farm:
    return Farm("slurm", slurm_pool)


def make_place(farm: Farm, **site: Any) -> Place:
    folder = farm.user.folder("batch")
    generator = np.random.default_rng(3)
    for number in range(2):
        write_events(folder / f"events{number}.root", generator, 250)
    gate = farm.user.folder("gate")
    (folder / "mysteps.py").write_text(CODE.format(place=gate))
    (folder / "analysis.yaml").write_text(ANALYSIS.format(place=folder))
    given = {"kind": farm.kind, "memory": "1500 MB", "disk": "100 MB", "walltime": "00:05:00", "workers": 4, **site}
    (folder / f"{farm.kind}.yaml").write_text(json.dumps(given))
    farm.user.own(folder)
    return Place(farm, folder, folder / "run", folder / f"{farm.kind}.yaml", gate)


@pytest.fixture
def place(farm: Farm) -> Place:
    return make_place(farm)


@pytest.fixture(scope="module")
def quiet(user: User, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return every number of a local run that nothing disturbed."""
    place = make_place(Farm("htcondor", HTCondorPool(user, tmp_path_factory.mktemp("none"), 0)))
    place.portico("run", place.folder, "--run", place.run, "--workers", "2")
    run = portico.load(place.run)
    return {**numbers_of(run, "select"), **numbers_of(run, "spectrum")}


@pytest.fixture(autouse=True)
def _tidy(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave no driver and no job of one test to the next."""
    yield
    while DRIVERS:
        end(DRIVERS.pop())
    for name in ("farm", "condor", "slurm"):
        if name in request.fixturenames:
            farm: Farm = request.getfixturevalue(name)
            if jobs := farm.queued():
                farm.user.run(["condor_rm" if farm.kind == "htcondor" else "scancel", *jobs], check=False)


def test_jobs_go_on_after_the_driver_left_and_are_collected(place: Place, quiet: dict[str, bytes]) -> None:
    place.hold_chunks()
    before = place.farm.submissions()
    said = place.portico(*place.command("--detach"))
    assert f"{JOBS} jobs" in said.stdout
    assert f"{CHUNKS} chunks" in said.stdout
    wait_for(lambda: len(place.farm.queued("running")) == JOBS, "running jobs")
    status = place.status()
    assert status["state"] == "submitted"
    assert status["batch"]["jobs"] == {"running": JOBS, "idle": 0, "held": 0}
    assert status["batch"]["chunks"] == CHUNKS
    assert f"{JOBS} jobs ({JOBS} running), {CHUNKS} chunks to come" in place.portico("status", place.run).stdout
    again = place.portico(*place.command("--detach"))  # nothing is submitted twice
    assert f"{JOBS} jobs" in again.stdout
    assert place.farm.submissions() == before + 1
    place.release_chunks()
    wait_for(lambda: not place.farm.queued(), "the end of the jobs", 120)
    status = place.status()
    assert status["state"] == "submitted"
    assert status["batch"]["results"] == CHUNKS
    assert f"0 jobs, {CHUNKS} results not collected yet" in place.portico("status", place.run).stdout
    place.portico(*place.command())
    place.equals(quiet)
    assert place.attempts() == []
    assert place.farm.submissions() == before + 2  # the second step, with one submission
    assert place.status()["state"] == "done"


@pytest.mark.full
def test_a_killed_job_is_submitted_again_for_what_is_missing(place: Place, quiet: dict[str, bytes]) -> None:
    place.hold_chunks()
    driver = place.start()
    wait_for(lambda: len(jobs_of(place)) == JOBS, "running jobs", log=place.run.with_suffix(".said"))
    refused = place.portico(*place.command(), check=False)
    assert refused.returncode == 1
    assert "in use by another portico run" in refused.stderr
    jobs_of(place)[0].kill()
    place.release_chunks()
    place.ends(driver)
    place.equals(quiet)
    ((outcome, message),) = place.attempts()  # that of the chunk it worked on; those that waited behind it lost none
    assert outcome == "lost"
    assert "ended without a result" in message
    assert "signal 9" in message


def jobs_of(place: Place) -> list[psutil.Process]:
    """Return the processes of jobs that work on a chunk."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            ours = "portico.executors.job" in line and str(place.run) in line[-2]
            if ours and (Path(line[-2]) / "notes" / f"{line[-1]}.json").exists():
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.full
@pytest.mark.slurm
def test_interrupted_and_resumed(slurm: Farm, quiet: dict[str, bytes]) -> None:
    place = make_place(slurm)
    place.hold_chunks()
    driver = place.start()
    wait_for(lambda: len(slurm.queued("running")) == JOBS, "running jobs", log=place.run.with_suffix(".said"))
    before = slurm.submissions()
    driver.send_signal(signal.SIGINT)
    place.ends(driver, 130)
    assert f"{JOBS} jobs" in place.said
    assert "Traceback" not in place.said
    place.release_chunks()
    place.portico(*place.command())
    place.equals(quiet)
    assert slurm.submissions() == before + 1  # the second step


@pytest.mark.full
def test_cancel_removes_the_jobs(place: Place) -> None:
    place.hold_chunks()
    driver = place.start()
    wait_for(lambda: len(place.farm.queued("running")) == JOBS, "running jobs", log=place.run.with_suffix(".said"))
    said = place.portico("cancel", place.run)
    assert f"removed {JOBS} jobs ({JOBS} running)" in said.stdout
    place.ends(driver, 1)
    assert "removed by portico cancel" in place.said
    wait_for(lambda: not place.farm.queued(), "the end of the jobs")
    assert place.status()["batch"] is None
    assert "no batch jobs" in place.portico("cancel", place.run).stdout
    place.release_chunks()
    place.portico(*place.command("--step", "select"))
    assert portico.load(place.run)["select"]["a"]["n"] == 500
    assert place.attempts() == []


@pytest.mark.full
@pytest.mark.htcondor
def test_htcondor_holds_a_job(condor: Farm, quiet: dict[str, bytes]) -> None:
    place = make_place(condor)
    place.hold_chunks()
    place.portico(*place.command("--detach"))
    wait_for(lambda: len(condor.queued("running")) == JOBS, "running jobs")
    assert isinstance(condor.pool, HTCondorPool)
    condor.pool.hold("True", "no disk at this site")
    wait_for(lambda: len(condor.queued("held")) == JOBS, "held jobs")
    place.release_chunks()
    status = place.portico("status", place.run).stdout
    assert f"{JOBS} held" in status
    assert "no disk at this site" in status
    driver = place.start()
    wait_for(lambda: "no disk at this site" in place.said, "a warning", 60)
    assert "held by HTCondor" in place.said
    condor.pool.release("True")
    place.ends(driver)
    place.equals(quiet)


@pytest.mark.htcondor
def test_htcondor_says_why_jobs_are_idle(condor: Farm) -> None:
    place = make_place(condor, memory="900 GB", patience=5)
    place.portico(*place.command("--detach"))
    told = place.portico("status", place.run).stdout
    assert f"{JOBS} idle" in told
    assert "the job requests 858,307 MiB of memory, the largest slot has 16,000" in told


@pytest.mark.full
@pytest.mark.htcondor
def test_htcondor_job_over_its_walltime(condor: Farm) -> None:
    place = make_place(condor, walltime="00:00:20")
    place.hold_chunks()
    driver = place.start("--chunks-per-job", "10")
    wait_for(lambda: "walltime" in place.said, "a message about the walltime", 90)
    assert "over its walltime of 00:00:20: The job exceeded allowed job duration of 00:20 (code 46)" in place.said
    driver.send_signal(signal.SIGINT)
    place.ends(driver, 130)
    place.portico("cancel", place.run)


@pytest.mark.full
@pytest.mark.slurm
@pytest.mark.timeout(400)
def test_slurm_job_over_its_walltime(slurm: Farm, quiet: dict[str, bytes]) -> None:
    place = make_place(slurm, walltime="00:01:00")
    place.hold_chunks()
    driver = place.start("--chunks-per-job", "10")
    wait_for(lambda: "walltime" in place.said, "a message about the walltime", 150)
    place.release_chunks()
    place.ends(driver)
    place.equals(quiet)
    ((outcome, message),) = place.attempts()
    assert outcome == "timeout"
    assert "over its walltime of 00:01:00: TIMEOUT" in message
    assert "--chunks-per-job" in message


@pytest.mark.full
@pytest.mark.slurm
def test_slurm_holds_a_job(slurm: Farm, quiet: dict[str, bytes]) -> None:
    place = make_place(slurm, extra={"hold": ""})
    place.portico(*place.command("--detach"))
    told = place.portico("status", place.run).stdout
    assert f"{JOBS} held" in told
    assert "JobHeldUser: release it with: scontrol release" in told
    jobs = {name.partition("_")[0] for name in slurm.queued("held")}
    slurm.user.run(["scontrol", "release", *jobs])
    place.portico(*place.command("--step", "select"))
    assert portico.load(place.run)["select"]["a"]["n"] == 500


@pytest.mark.slurm
def test_slurm_refuses_what_no_node_has(slurm: Farm) -> None:
    place = make_place(slurm, memory="900 GB")
    said = place.portico(*place.command(), check=False)
    assert said.returncode == 1
    assert "sbatch failed" in said.stderr
    assert "Memory specification can not be satisfied" in said.stderr
    assert not (place.run / "batch.jobs").exists()

