"""Dask workers and batch jobs in Portico's own image, on a real HTCondor with Apptainer, and the doctor on them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import portico
from portico.environment.pins import LIST
from tests.conftest import REPOSITORY, numbers_of
from tests.services.farm.need import missing
from tests.services.farm.pool import HTCondorPool
from tests.services.farm.pool import htcondor_pool as start_htcondor
from tests.services.farm.slurm import slurm_pool
from tests.services.farm.user import User, ordinary_user
from tests.services.test_batch import Farm, Place, make_place
from tools import image as images
from tools.facility.places import DEPLOY, fill

pytestmark = [pytest.mark.full, pytest.mark.htcondor, pytest.mark.timeout(1800)]  # the first test builds the image

OTHER = ("xxhash", "3.6.0")
"""A version that the list does not pin."""


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    """An ordinary user whose home is not below /tmp, of which every job has its own."""
    with ordinary_user(Path("/srv") if os.access("/srv", os.W_OK) else Path.home()) as made:
        yield made


@pytest.fixture(scope="module")
def image(user: User) -> Path:
    """Return the image of this checkout, built if it is missing."""
    if user.run(["unshare", "--map-root-user", "--mount", "true"], check=False).returncode != 0:
        pytest.skip("this kernel forbids user namespaces, in which Apptainer runs images")
    try:
        return images.image()
    except images.UnavailableError as error:
        missing(str(error))


@pytest.fixture(scope="module")
def condor(user: User, image: Path) -> Iterator[Farm]:
    """Return a pool whose jobs run in images, with the lines that a site adds to its own."""
    values = {"APPTAINER": images.apptainer(), "DISKS": user.home}
    lines = fill(DEPLOY / "htcondor" / "apptainer.conf", user.folder("lines") / "apptainer.conf", values)
    with start_htcondor(user, extra=lines.read_text()) as pool:
        yield Farm("htcondor", pool)


@pytest.fixture(scope="module")
def slurm(user: User, image: Path) -> Iterator[Farm]:
    """Return a pool whose jobs find Apptainer."""
    programs = images.apptainer()
    assert programs is not None
    with slurm_pool(user.also(PATH=os.pathsep.join([str(programs.parent), user.environment["PATH"]]))) as pool:
        yield Farm("slurm", pool)


def make(farm: Farm, image: Path | None, **more: Any) -> Place:
    """Return a run whose chunks note in which image they run."""
    site = {"image": str(image), "environment": {"EXTRA_CLING_ARGS": "-O0"}, "interface": "lo", "memory": "2 GB"}
    place = make_place(farm, **site, folder=str(farm.user.folder("jobs")), **more)
    steps = place.folder / "mysteps.py"
    # Variables that a step asks for by name have the values of the driver.
    note = "f\"{dict(os.environ).get('APPTAINER_CONTAINER', '')} {sys.prefix}\\n\""
    steps.write_text("import os\nimport sys\n" + steps.read_text().replace('"chunk\\n"', note))
    return place


def seen(place: Place) -> set[str]:
    return set((place.gate / "begun").read_text().splitlines())


def numbers(place: Place) -> dict[str, bytes]:
    run = portico.load(place.run)
    return {**numbers_of(run, "select"), **numbers_of(run, "spectrum")}


@pytest.fixture(scope="module")
def quiet(user: User, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return every number of a local run outside the image."""
    place = make(Farm("htcondor", HTCondorPool(user, tmp_path_factory.mktemp("none"), 0)), None)
    place.portico("run", place.folder, "--run", place.run, "--workers", "2")
    assert {line.split(" ")[0] for line in seen(place)} == {""}
    return numbers(place)


def inside(user: User, image: Path, *command: str) -> str:
    """Run a command in an image as an ordinary user."""
    program = images.apptainer()
    assert program is not None
    return user.run([program, "exec", "--userns", "--containall", image, *command]).stdout


def test_the_image_holds_what_the_list_pins_and_nothing_else(user: User, image: Path) -> None:
    installed = json.loads(inside(user, image, "python3", "-m", "pip", "list", "--format", "json"))
    there = {one["name"].lower().replace("_", "-").replace(".", "-"): one["version"] for one in installed}
    ours = {name: there.pop(name) for name in ("portico-hep", "portico-distrdf")}
    assert ours["portico-hep"] == portico.__version__
    text = (REPOSITORY / LIST).read_text()
    assert inside(user, image, "cat", f"/opt/portico/{LIST}") == text
    pinned = dict(line.split("==") for line in text.splitlines() if "==" in line)
    assert {name: version for name, version in there.items() if pinned.get(name) != version} == {}
    assert inside(user, image, "portico", "--version").strip().endswith(portico.__version__)


def test_dask_workers_in_the_image(condor: Farm, image: Path, quiet: dict[str, bytes]) -> None:
    place = make(condor, image)
    done = place.portico("run", place.folder, "--run", place.run, "--on", place.site, "--workers", "2", timeout=600)
    assert seen(place) == {f"{image} /opt/portico"}
    assert "warning" not in done.stderr
    assert numbers(place) == quiet


@pytest.mark.parametrize("filesystem", ["shared", "none"])
def test_batch_jobs_in_the_image(filesystem: str, condor: Farm, image: Path, quiet: dict[str, bytes]) -> None:
    place = make(condor, image, filesystem=filesystem)
    place.portico(*place.command(), timeout=600)
    assert seen(place) == {f"{image} /opt/portico"}
    place.equals(quiet)
    assert place.attempts() == []


@pytest.mark.slurm
@pytest.mark.parametrize("command", [[], ["--batch"]])
def test_slurm_in_the_image(command: list[str], slurm: Farm, image: Path, quiet: dict[str, bytes]) -> None:
    place = make(slurm, image)
    # Batch jobs see their run folder without a word of the site; Dask's workers are started before there is one.
    shown = sorted(place.folder.glob("*.root")) if command else [place.folder]
    site = json.loads(place.site.read_text())
    site["environment"]["APPTAINER_BIND"] = ",".join(map(str, [*shown, place.gate]))
    place.site.write_text(json.dumps(site))
    place.portico("run", place.folder, "--run", place.run, "--on", place.site, *command, timeout=600)
    assert seen(place) == {f"{image} /opt/portico"}
    assert numbers(place) == quiet
    assert place.attempts() == []


def doctor(place: Place) -> dict[str, list[dict[str, str]]]:
    command = ["doctor", place.folder, "--on", place.site, "--workers", "1", "--json"]
    said = place.portico(*command, timeout=600, check=False).stdout
    findings: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(said)["findings"]:
        findings.setdefault(finding["check"], []).append(finding)
    return findings


def test_the_doctor_on_an_image_as_pinned(condor: Farm, image: Path) -> None:
    place = make(condor, image)
    found = doctor(place)
    (finding,) = found["images"]
    assert finding["level"] == "ok", finding
    assert f"packages as pinned by {LIST} in the image of htcondor" in finding["what"]
    assert {one["level"] for one in found["versions"]} == {"ok"}, found["versions"]


def test_the_doctor_names_a_package_that_was_replaced_in_the_image(condor: Farm, image: Path) -> None:
    package, version = OTHER
    pinned = dict(line.split("==") for line in (REPOSITORY / LIST).read_text().splitlines() if "==" in line)
    with images.copy_of(image) as other:
        images.install(other, f"{package}=={version}")
        (finding,) = doctor(make(condor, other))["images"]
        assert finding["level"] == "warning"
        assert f"image {other} on " in finding["what"]
        assert finding["what"].endswith(f"is not what its {LIST} pins: {package} {version}, pinned {pinned[package]}")
        assert LIST in finding["fix"]
    assert inside(condor.user, image, "cat", f"/opt/portico/{LIST}")  # the image itself is as it was
    assert pinned[package] in inside(condor.user, image, "python3", "-m", "pip", "show", package)
