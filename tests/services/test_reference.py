"""The reference analysis on the farm: its selection with all histograms on HTCondor and Slurm, read over XRootD."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import portico
from tests.reference import FARM, write_analysis
from tests.services.farm.user import User
from tests.services.farm.xrootd import XRootDServer

pytestmark = [pytest.mark.xrootd, pytest.mark.timeout(900)]

STEPS = """
  - {name: select, function: "hnl.select:select", chunk: 2000 entries}
"""
SITE = """
kind: {kind}
memory: 3 GB
disk: 100 MB
walltime: "00:20:00"
workers: 2
interface: lo
folder: {folder}/jobs
environment: {{EXTRA_CLING_ARGS: "-O0"}}
"""


@pytest.fixture(scope="module")
def place(user: User, chain: portico.Run) -> Iterator[Path]:
    """The analysis of an ordinary user, whose ntuples a server has; and its run on the user's own machine."""
    server = XRootDServer(user)
    server.start()
    try:
        written = {name: sorted((chain.path / "skim" / name).glob("*.root")) for name in FARM}
        urls = {name: [server.put(file, f"{name}/{file.name}") for file in written[name]] for name in FARM}
        folder = user.folder("reference")
        write_analysis(folder / "reference", "wztree", urls.__getitem__, STEPS)
        user.own(folder)
        user.portico("run", "reference", "--run", "local", "--workers", "2", cwd=folder, timeout=600)
        yield folder
    finally:
        server.stop()


@pytest.mark.full
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        pytest.param("htcondor", [], marks=pytest.mark.htcondor, id="Dask on HTCondor"),
        pytest.param("htcondor", ["--batch"], marks=pytest.mark.htcondor, id="batch on HTCondor"),
        pytest.param("slurm", [], marks=pytest.mark.slurm, id="Dask on Slurm"),
        pytest.param("slurm", ["--batch"], marks=pytest.mark.slurm, id="batch on Slurm"),
    ],
)
def test_a_run_on_a_farm_is_the_local_one(
    kind: str, more: list[str], place: Path, request: pytest.FixtureRequest
) -> None:
    user: User = request.getfixturevalue(f"{kind}_pool").user
    site = user.write(place / f"{kind}.yaml", SITE.format(kind=kind, folder=place))
    run = f"run-{kind}{'-batch' if more else ''}"
    said = user.portico("run", "reference", "--run", run, "--on", site, *more, cwd=place, timeout=600)
    assert "select" in said.stdout
    compared = user.portico("compare", "local", run, "--json", cwd=place)
    verdict = json.loads(compared.stdout)
    assert verdict["equal"]
    assert verdict["identical"], compared.stdout[:2000]
    ran = portico.load(place / run)
    assert sum(ran["select"]["signal_m1p0_ctau10"].cutflows["cutflow"].passed) > 50
    assert ran.states == {"select": "done"}
