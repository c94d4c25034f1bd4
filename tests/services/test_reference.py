"""The reference analysis on the farm: its selection with all histograms on HTCondor and Slurm, read over XRootD."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import portico
from tests.services.farm.user import User
from tests.services.farm.xrootd import XRootDServer

pytestmark = [pytest.mark.xrootd, pytest.mark.timeout(900)]

EVENTS = {"signal_m1p0_ctau10": 300, "background": 600, "data": 300}
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


def write_analysis(folder: Path, files: Callable[[str], list[str]] | None, steps: str) -> Path:
    """Write the reference analysis with fewer events; they are generated, or read from files."""
    dataset = portico.load_analysis("hnl").dataset
    samples = {}
    for name, entries in EVENTS.items():
        fields = dataset[name].model_dump(exclude={"name", "files", "replicas", "completeness"}, exclude_none=True)
        samples[name] = {**fields, "entries": entries, "processed_events": entries}
        for merged in ("merge_ctau", "merge_decays"):  # one lifetime stands alone
            samples[name]["parameters"].pop(merged, None)
        if files is not None:
            del samples[name]["entries"]
            samples[name] |= {"tree": "wztree", "files": files(name)}
    folder.mkdir(exist_ok=True)
    path = folder / "analysis.yaml"
    plain = json.loads(json.dumps({"name": "reference", "dataset": {"samples": samples}}))
    path.write_text(yaml.safe_dump(plain, sort_keys=False) + f"steps:{steps}")
    return path


@pytest.fixture(scope="module")
def ntuples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of steps 0 and 1 of the analysis."""
    folder = tmp_path_factory.mktemp("ntuples")
    steps = """
  - {name: simulate, function: "hnl.simulate:simulate", chunk: 1000 entries}
  - {name: skim, function: "hnl.skim:skim", input: simulate}
"""
    analysis = portico.load_analysis(write_analysis(folder / "analysis", None, steps))
    portico.run(analysis, folder=folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def place(user: User, ntuples: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The analysis of an ordinary user, whose ntuples a server has; and its run on the user's own machine."""
    server = XRootDServer(user)
    server.start()
    try:
        written = {name: sorted((ntuples / "skim" / name).glob("*.root")) for name in EVENTS}
        urls = {name: [server.put(file, f"{name}/{file.name}") for file in written[name]] for name in EVENTS}
        folder = user.folder("reference")
        write_analysis(folder / "reference", lambda name: urls[name], STEPS)
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
