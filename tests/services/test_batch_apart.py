"""Batch jobs that share no disk with the driver: in their own name space, the analysis and its run do not exist."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import portico
from tests.conftest import numbers_of
from tests.services.farm.need import missing, wait_for
from tests.services.farm.pool import HTCondorPool
from tests.services.farm.slurm import SlurmPool
from tests.services.farm.user import User, end
from tests.services.farm.xrootd import XRootDServer
from tests.services.test_batch import CHUNKS, DRIVERS, Farm, Place, make_place

BLIND = """\
#!/bin/sh
exec unshare --map-root-user --mount sh -c 'mount -t tmpfs none {hidden} && exec "$@"' sh {python} "$@"
"""
"""A Python that does not see one folder."""


def make_apart(farm: Farm, **site: Any) -> Place:
    """Return a run whose jobs see neither its folder nor that of the analysis."""
    user = farm.user
    if user.run(["unshare", "--map-root-user", "--mount", "true"], check=False).returncode != 0:
        missing("this kernel forbids user namespaces, in which jobs could not see the disk")
    tools = user.folder("tools")
    place = make_place(farm, filesystem="none", python=str(tools / "python"), **site)
    user.write(tools / "python", BLIND.format(hidden=place.folder, python=user.python), 0o755)
    return place


def on_server(place: Place, server: XRootDServer) -> Place:
    """Have the input on a server, and return the run whose store is there too."""
    for path in sorted(place.folder.glob("events*.root")):
        server.put(path, f"input/{path.name}")
        path.unlink()
    analysis = place.folder / "analysis.yaml"
    urls = json.dumps([server.url(f"input/events{number}.root") for number in range(2)])
    analysis.write_text(analysis.read_text().replace(f'["{place.folder}/events*.root"]', urls))
    return place


@pytest.fixture(scope="module")
def condor(htcondor_pool: HTCondorPool) -> Farm:
    return Farm("htcondor", htcondor_pool)


@pytest.fixture(scope="module")
def slurm(slurm_pool: SlurmPool) -> Farm:
    return Farm("slurm", slurm_pool)


@pytest.fixture(scope="module")
def quiet(user: User, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return every number of a local run."""
    place = make_place(Farm("htcondor", HTCondorPool(user, tmp_path_factory.mktemp("none"), 0)))
    place.portico("run", place.folder, "--run", place.run, "--workers", "2")
    return numbers(place)


@pytest.fixture(autouse=True)
def _tidy(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    while DRIVERS:
        end(DRIVERS.pop())
    for name, program in (("condor", "condor_rm"), ("slurm", "scancel")):
        if name in request.fixturenames:
            farm: Farm = request.getfixturevalue(name)
            if jobs := farm.queued():
                farm.user.run([program, *jobs], check=False)


def numbers(place: Place) -> dict[str, bytes]:
    run = portico.load(place.run)
    return {**numbers_of(run, "select"), **numbers_of(run, "spectrum")}


def begun(place: Place) -> int:
    path = place.gate / "begun"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.full
@pytest.mark.htcondor
def test_htcondor_transfers_what_a_job_needs_and_makes(condor: Farm) -> None:
    place = make_apart(condor)
    place.portico(*place.command("--step", "select", "--chunks-per-job", "10"))
    assert portico.load(place.run)["select"]["a"]["n"] == 500
    assert len(list((place.run / "select" / "a").glob("*.root"))) == CHUNKS
    assert not (place.run / "batch.jobs").exists()


@pytest.mark.full
@pytest.mark.htcondor
def test_htcondor_without_a_shared_disk_equals_the_local_run(condor: Farm, quiet: dict[str, bytes]) -> None:
    place = make_apart(condor)
    place.portico(*place.command())
    place.equals(quiet)
    assert place.attempts() == []
    assert place.portico("verify", place.run).returncode == 0


@pytest.mark.full
@pytest.mark.htcondor
def test_htcondor_brings_results_to_a_driver_that_was_killed(condor: Farm, quiet: dict[str, bytes]) -> None:
    place = make_apart(condor)
    place.hold_chunks()
    driver = place.start()
    wait_for(lambda: begun(place) == 2, "two jobs at work", 90, place.run.with_suffix(".said"))
    before = condor.submissions()
    driver.send_signal(signal.SIGKILL)
    driver.wait(20)
    place.release_chunks()
    wait_for(lambda: not condor.queued(), "the end of the jobs", 120)
    status = place.status()
    assert status["batch"]["results"] == CHUNKS
    assert status["batch"]["lost"] == 0
    place.portico(*place.command())
    place.equals(quiet)
    assert place.attempts() == []
    assert condor.submissions() == before + 1  # the second step


@pytest.mark.full
@pytest.mark.htcondor
def test_an_evicted_job_keeps_the_chunks_that_it_finished(condor: Farm, quiet: dict[str, bytes]) -> None:
    place = make_apart(condor)
    code, third = place.folder / "mysteps.py", '(PLACE / "begun").read_text().count("chunk") == 3'
    code.write_text(code.read_text().replace('(PLACE / "wait").exists()', f'{third} and not (PLACE / "go").exists()'))
    driver = place.start("--chunks-per-job", "10")
    wait_for(lambda: begun(place) == 3, "the third chunk", 90, place.run.with_suffix(".said"))
    (job,) = condor.queued("running")
    condor.user.run(["condor_vacate_job", job])
    wait_for(lambda: not condor.queued("running"), "the eviction", 60)
    (place.gate / "go").touch()
    place.ends(driver)
    place.equals(quiet)
    assert place.attempts() == [], "the batch system ran the job again, and nothing was lost"
    assert begun(place) == CHUNKS + 1, "only the chunk at work ran twice"


@pytest.mark.full
@pytest.mark.htcondor
def test_a_job_killed_again_and_again_does_not_give_its_chunk_up(condor: Farm, quiet: dict[str, bytes]) -> None:
    """More often than a chunk may crash: an eviction is none."""
    place = make_apart(condor)
    place.hold_chunks()
    driver = place.start("--chunks-per-job", "10")
    for kill in range(1, 5):
        wait_for(lambda kill=kill: begun(place) == kill, f"start {kill}", 90, place.run.with_suffix(".said"))
        wait_for(lambda: len(condor.queued("running")) == 1, "one job")
        condor.user.run(["condor_rm", *condor.queued("running")])
    wait_for(lambda: begun(place) == 5, "start 5 of the chunk", 90, place.run.with_suffix(".said"))
    place.release_chunks()
    place.ends(driver)
    place.equals(quiet)
    lost = [outcome for outcome, _ in place.attempts()]
    assert set(lost) == {"lost"}
    assert len(lost) >= 4


@pytest.mark.full
@pytest.mark.slurm
@pytest.mark.xrootd
def test_slurm_without_a_shared_disk_uses_the_store(
    slurm: Farm, quiet: dict[str, bytes], xrootd_server: Callable[..., XRootDServer]
) -> None:
    server = xrootd_server()
    place = on_server(make_apart(slurm), server)
    store = server.url("store")
    place.hold_chunks()
    driver = place.start("--store", store)
    wait_for(lambda: begun(place) == 2, "two jobs at work", 90, place.run.with_suffix(".said"))
    driver.send_signal(signal.SIGKILL)
    driver.wait(20)
    place.release_chunks()
    wait_for(lambda: not slurm.queued(), "the end of the jobs", 120)
    assert place.status()["batch"]["results"] == CHUNKS
    place.portico(*place.command("--store", store))
    assert {name: value for name, value in numbers(place).items() if "tree" not in name} == {
        name: value for name, value in quiet.items() if "tree" not in name
    }
    assert len(list((server.folder / "store" / "select" / "a").glob("*.root"))) == CHUNKS
    assert not list((server.folder / "store" / "batch.jobs").iterdir())
    assert not (place.run / "batch.jobs").exists()
    assert place.attempts() == []


@pytest.mark.full
@pytest.mark.slurm
@pytest.mark.xrootd
def test_slurm_says_what_cannot_go_without_a_shared_disk(
    slurm: Farm, xrootd_server: Callable[..., XRootDServer]
) -> None:
    place = make_apart(slurm)
    said = place.portico(*place.command(), check=False)
    assert said.returncode == 2
    assert "site 'slurm' has filesystem: none, and Slurm transfers no files" in said.stderr
    assert "--store root://" in said.stderr
    said = place.portico(*place.command("--store", xrootd_server().url("store")), check=False)
    assert said.returncode == 2
    assert f"{place.folder}/events0.root: is a file of this machine" in said.stderr
    assert not (place.run / "batch.jobs").exists()
