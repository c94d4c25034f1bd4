"""Runs whose Dask scheduler is lost: killed as a process at a gateway, ended in the driver on HTCondor and Slurm."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import portico
from portico.analysis.analysis import load_analysis
from tests.conftest import Remember, numbers_of
from tests.services.farm.user import processes_in
from tests.services.test_clusters import Place, both, gateway, make_place

__all__ = ["make_place"]  # a fixture

# A driver that ends its own scheduler when some chunks are done, and says what it was told.
DRIVER = """
import asyncio
import sys
from contextlib import closing

import portico

folder, run, site = sys.argv[1:]
done = 0


class Reporter:
    def begin(self, *_): pass
    def note(self, message): pass
    def end(self, *_): pass

    def warn(self, message):
        print(message)

    def advance(self, *_):
        global done
        done += 1
        if done == 5:
            dask = executor._connection.site.dask
            asyncio.run_coroutine_threadsafe(dask.scheduler.close(), dask.loop.asyncio_loop).result(60)


with closing(portico.connect(site, 2)) as executor:
    first = executor._connection
    portico.run(portico.load_analysis(folder), folder=run, executor=executor, reporter=Reporter())
    assert executor._connection is not first
print("at the end", done)
"""


@pytest.mark.full
@both
def test_a_run_on_a_farm_goes_on_with_a_new_scheduler(kind: str, make_place: Callable[..., Place]) -> None:
    place = make_place(kind)
    driver = place.user.write(place.folder / "driver.py", textwrap.dedent(DRIVER))
    command = [place.user.python, driver, place.folder, place.run, place.site(kind)]
    done = place.user.run(command, cwd=place.folder, timeout=280)
    assert (
        "is gone; what is done is kept, and the run continues on a new cluster (1 of at most 3 in a row)" in done.stdout
    )
    assert "at the end 20" in done.stdout  # each chunk once
    assert "Traceback" not in done.stderr, done.stderr
    assert numbers_of(portico.load(place.run), "select") == place.local()
    left = sorted(path.name for path in (place.folder / "jobs").iterdir() if path.name.startswith("keys"))
    assert left == []


@pytest.mark.full
def test_a_run_on_a_gateway_goes_on_when_its_scheduler_is_killed(
    make_place: Callable[..., Place], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = make_place("gateway", workers=1)
    killed: list[int] = []

    def kill(advanced: int) -> None:
        if advanced == 5:
            for process in processes_in(tmp_path):
                with suppress(psutil.Error):
                    if any("dask_scheduler" in word for word in process.cmdline()):
                        process.kill()
                        killed.append(process.pid)

    remember = Remember(kill)
    with gateway(tmp_path) as (address, proxy):
        site = place.folder / "facility.yaml"
        options = f"{{address: '{address}', proxy_address: '{proxy}', auth: basic}}"
        site.write_text(f"kind: gateway\nworkers: 1\nminimum: 1\noptions: {options}\n")
        run = portico.run(load_analysis(place.folder), folder=place.run, on=str(site), reporter=remember)
        assert len(killed) == 1
        assert numbers_of(run, "select") == place.local()
    (told,) = [text for text in remember.warnings if "new cluster" in text]
    assert "is gone; what is done is kept, and the run continues on a new cluster (1 of at most 3 in a row)" in told
    assert remember.ran["select"] <= 16
    assert "Traceback" not in capfd.readouterr().err
