"""`make facility`: a browser logs in to the hub and runs the notebook on HTCondor; two users, apart from each other."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import portico
from tests.notebooks.lab import BROKEN, CELLS, LOAD, Page, browser, require
from tests.reference import ENTRIES
from tests.services.farm.need import missing
from tests.services.farm.user import ordinary_user, processes_in
from tools.facility.accounts import passwords
from tools.facility.demo import SAMPLES
from tools.facility.places import REPOSITORY, Places, State
from tools.facility.services import cache, condor_release, running
from tools.facility.start import SERVICES, environment_of

pytestmark = [
    pytest.mark.full, pytest.mark.browser, pytest.mark.htcondor, pytest.mark.xrootd, pytest.mark.timeout(3600),
]  # fmt: skip

HOLD = """
import os, sys, time
import portico
session = portico.session(portico.load_analysis(os.environ["PORTICO_ANALYSIS"]), on="facility", folder="runs/held")
print(session.executor.client.scheduler.address, session.executor.dashboard, flush=True)
sys.stdin.read()
session.close()
"""
REACH = """
import sys
from distributed import Client, Security
for security in (None, Security.temporary()):
    try:
        Client(sys.argv[1], security=security, timeout=10)
    except (OSError, TimeoutError, TypeError, ValueError):
        continue
    sys.exit("reached")
"""


@dataclass(frozen=True)
class Facility:
    """A facility that is up, with two users."""

    places: Places
    proxy: Path

    @property
    def state(self) -> State:
        """What it remembers."""
        return self.places.load()

    @property
    def address(self) -> str:
        """Where users log in."""
        return f"http://127.0.0.1:{self.state.ports['proxy']}"

    def command(self, word: str) -> subprocess.CompletedProcess[str]:
        """Run ``up``, ``status``, ``down`` or ``remove``."""
        arguments = [word, "--folder", str(self.places.folder), "--users", *self.names,
                     "--proxy", str(self.proxy), "--entries", str(ENTRIES)]  # fmt: skip
        command = [sys.executable, "-m", "tools.facility", *arguments]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    @property
    def names(self) -> list[str]:
        """The users; named after the folder, since accounts are those of the machine."""
        return [f"{self.places.folder.name}-{letter}" for letter in "ab"]

    def home(self, name: str) -> Path:
        """The home of a user."""
        return self.places.folder / "home" / name

    def popen(self, name: str, arguments: Sequence[str | Path], **options: Any) -> subprocess.Popen[str]:
        """Start a program as a user, in the environment of notebooks."""
        account, release = pwd.getpwnam(name), condor_release()
        assert release is not None
        python = Path((self.places.folder / "etc" / "python").read_text())
        environment = {
            **environment_of(self.places, python, release), "HOME": account.pw_dir, "USER": name,
            "PORTICO_ANALYSIS": str(self.places.folder / "share" / "search" / "analysis.yaml"),
        }  # fmt: skip
        command = [str(python) if word == "python" else str(word) for word in arguments]
        return subprocess.Popen(command, env=environment, cwd=account.pw_dir, user=account.pw_uid, text=True,
                                group=account.pw_gid, extra_groups=[], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **options)  # fmt: skip


def hub_proxy() -> Path:
    """Return the proxy of JupyterHub; skip the test if it or the hub is missing."""
    for module in ("jupyterhub", "jupyter_server_proxy"):
        if find_spec(module) is None:
            missing(f"{module} is not installed; make facility installs it")
    proxy = Path(sys.prefix) / "hub" / "node_modules" / ".bin" / "configurable-http-proxy"
    proxy = Path(os.environ.get("PORTICO_HUB_PROXY", proxy))
    if not proxy.exists():
        missing(f"{proxy} is not installed; make facility installs it")
    return proxy


@pytest.fixture(scope="module")
def facility(chain: portico.Run) -> Iterator[Facility]:
    """A facility with the events of the chain."""
    require()
    if os.geteuid() != 0:
        missing("two users of a hub need root, which can start processes as them")
    proxy = hub_proxy()
    folder = Path(tempfile.gettempdir()) / f"pf{secrets.token_hex(3)}"
    made = Facility(Places(folder), proxy)
    (folder / "data" / "events").mkdir(parents=True)
    for name in SAMPLES:
        shutil.copytree(chain.path / "simulate" / name, folder / "data" / "events" / name)
    try:
        said = made.command("up")
        assert said.returncode == 0, said.stderr
        yield made
    finally:
        assert made.command("remove").returncode == 0


def log_in(driver: Any, address: str, name: str, password: str) -> None:
    """Log in at the hub, and wait for the cells of the notebook."""
    page = Page(driver)
    driver.get(f"{address}/hub/login")
    page.wait("the form", lambda: page.find("#username_input"), LOAD)[0].send_keys(name)
    page.find("#password_input")[0].send_keys(password)
    page.find("#login_submit")[0].click()
    page.wait("the cells", lambda: page.find(CELLS), 10 * LOAD)
    page.wait("the kernel", lambda: "(ipykernel) | Idle" in page.text, 10 * LOAD)


def test_a_browser_runs_the_notebook_on_htcondor(facility: Facility, tmp_path: Path) -> None:
    shots = Path(os.environ.get("PORTICO_SCREENSHOTS", tmp_path))
    name = facility.names[0]
    with browser(tmp_path / "profile") as driver:
        driver.set_page_load_timeout(10 * LOAD)
        log_in(driver, facility.address, name, passwords(facility.places)[name])
        page = Page(driver)
        page.run_all(3000)
        assert not page.failures
        assert not [word for word in BROKEN if word in page.text]
        pictures = page.pictures()
        assert len(pictures) == 5  # two live histograms, the changed cut, a fit and the limit
        assert all(width > 0 for _, width in pictures)
        assert "bit for bit" in page.text
        page.shoot(shots / "facility-notebook.png", 1440)
    run = portico.load(facility.home(name) / "runs" / "notebook")
    assert set(run.states.values()) == {"done"}


def test_the_dashboard_is_for_its_user(facility: Facility, tmp_path: Path) -> None:
    shots = Path(os.environ.get("PORTICO_SCREENSHOTS", tmp_path))
    first, second = facility.names
    held = facility.popen(first, ["python", "-c", HOLD], stdin=subprocess.PIPE)
    try:
        assert held.stdout is not None
        scheduler, link = held.stdout.readline().split()
        assert scheduler.startswith("tls://127.0.0.1:")
        assert link.startswith("http://127.0.0.1:")
        port, secret = link.split("/")[2].split(":")[1], link.split("/")[3]
        for path in ("status", "sitemap.json", "json/counts.json", "guess/status"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=LOAD)
        reached = facility.popen(second, ["python", "-c", REACH, scheduler])
        said = reached.communicate(timeout=300)
        assert reached.returncode == 0, said
        with browser(tmp_path / "profile") as driver:
            driver.set_page_load_timeout(10 * LOAD)
            page = Page(driver)
            log_in(driver, facility.address, second, passwords(facility.places)[second])
            driver.get(f"{facility.address}/user/{first}/proxy/{port}/{secret}/status")
            assert "Task Stream" not in page.text  # the hub does not let the other user pass
        with browser(tmp_path / "own") as driver:
            driver.set_page_load_timeout(10 * LOAD)
            page = Page(driver)
            log_in(driver, facility.address, first, passwords(facility.places)[first])
            driver.get(f"{facility.address}/user/{first}/proxy/{port}/{secret}/status")
            page.wait("the dashboard", lambda: page.find(".bk-Figure, .bk-GridBox, .bk-Column"), 10 * LOAD)
            driver.save_screenshot(str(shots / "facility-dashboard.png"))
    finally:
        held.communicate(timeout=300)


def test_users_cannot_read_each_others_files(facility: Facility) -> None:
    first, second = facility.names
    secret = facility.home(first) / "proxy.pem"
    secret.write_text("a proxy")
    os.chown(secret, pwd.getpwnam(first).pw_uid, -1)
    secret.chmod(0o600)
    for path in (secret, facility.home(first), facility.places.folder / "passwords", facility.places.folder / "hub"):
        for name, expected in ((first, path.is_relative_to(facility.home(first))), (second, False)):
            tried = facility.popen(name, ["/bin/ls" if path.is_dir() else "/bin/cat", path])
            tried.communicate()
            assert (tried.returncode == 0) == expected, (name, path)


def test_a_second_start_is_quick_and_the_end_leaves_nothing(facility: Facility) -> None:
    before = {name: running(facility.state, name) for name in SERVICES}
    assert all(before.values())
    assert facility.command("up").returncode == 0
    assert {name: running(facility.state, name) for name in SERVICES} == before
    assert facility.command("status").returncode == 0
    assert facility.command("down").returncode == 0
    assert facility.command("status").returncode == 1
    assert not any(process.is_running() for process in before.values() if process)
    assert facility.command("up").returncode == 0


def test_an_ordinary_user_gets_a_facility_for_one() -> None:
    """HTCondor takes the token of the user, whose home is not that of the account."""
    proxy = hub_proxy()
    with ordinary_user() as made:
        folder = made.home / "f"
        user = made.also(PORTICO_CACHE=str(cache()), PYTHONPATH=str(REPOSITORY))
        given = ["--folder", folder, "--proxy", proxy, "--entries", "500"]
        said = user.run([user.python, "-m", "tools.facility", "up", *given], timeout=400).stdout
        try:
            assert f"user {user.name}\n         Prometheus" in said
            assert "for you alone" in said
            release = condor_release()
            assert release is not None
            home = {"HOME": str(folder / "home" / user.name)}
            environment = {**environment_of(Places(folder), user.python, release), **home}
            analysis = folder / "share" / "search"
            command = ["doctor", analysis, "--on", "facility", "--workers", "1", "--json"]
            found = user.portico(*command, env=environment, timeout=400, check=False).stdout
            levels = {one["level"] for one in json.loads(found)["findings"] if one["check"] in {"workers", "versions"}}
            assert levels == {"ok"}, found
        finally:
            user.run([user.python, "-m", "tools.facility", "remove", *given])
        assert not folder.exists()
        assert processes_in(folder) == []
