"""Services of the facility: starts them in order, each with its configuration."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tools.facility.accounts import become, copy_for, make_accounts, own, service
from tools.facility.demo import EVENTS, SAMPLES, SIMULATION, write_analysis
from tools.facility.places import DEPLOY, REPOSITORY, FacilityError, Places, State, choose_ports, fill, write_secret
from tools.facility.services import PATHS, answers, condor_release, program, running, start, wait_for

SERVICES = ("condor", "xrootd", "prometheus", "proxy", "hub")
CPUS, MEMORY = 4, 12000
"""What the pool believes to have: two workers for each of two users."""
PACKAGES = {"xrootd": "xrootd-server", "prometheus": "prometheus", "node": "nodejs"}
"""The Debian package of each program that is started, besides HTCondor."""
FOLDERS = ("log", "spool", "execute", "lock", "run", "s")


def up(places: Places, state: State, users: list[str], proxy: Path | None = None, entries: int = EVENTS) -> None:
    """Start what does not run.

    Raises
    ------
    FacilityError
        If something is missing, or does not start.
    """
    if all(running(state, name) for name in SERVICES):
        return
    programs = _programs(proxy)
    places.make()
    make_accounts(places, state, users)
    if not any(running(state, name) for name in SERVICES):
        state.ports = choose_ports(state.ports, state.users)
    places.save(state)
    python = readable_python(places, state.users[0])
    events = make_events(places, python, entries)
    _write_for_users(places, state, events, entries)
    environment = environment_of(places, python, programs["condor"])
    starts = {
        "condor": partial(_start_condor, places, state, programs["condor"]),
        "xrootd": partial(_start_xrootd, places, state, programs["xrootd"]),
        "prometheus": partial(_start_prometheus, places, state, programs["prometheus"]),
        "proxy": partial(_start_proxy, places, state, programs["proxy"]),
        "hub": partial(_start_hub, places, state, python),
    }
    for name in SERVICES:
        if not running(state, name):
            starts[name](environment)
    ports = {name: state.ports[name] for name in ("xrootd", "prometheus", "proxy")} | {"hub": state.ports["api"]}
    for name, port in ports.items():
        wait_for(places, state, name, partial(answers, port))
    wait_for(places, state, "condor", partial(_condor_ready, environment))
    for name in state.users:
        make_token(places, name, environment)


def _programs(proxy: Path | None) -> dict[str, Path]:
    """Return the programs, all of which have to be there before anything starts."""
    found = {name: program(name) for name in PACKAGES}
    if missing := [name for name, path in found.items() if path is None]:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise FacilityError(f"missing: {', '.join(missing)}; install with: sudo apt-get install {packages}")
    release = condor_release()
    if release is None:
        raise FacilityError("HTCondor is missing; install or unpack it with: bash tools/services.sh --facility")
    proxy = proxy or Path(sys.prefix) / "hub" / "node_modules" / ".bin" / "configurable-http-proxy"
    if not proxy.exists():
        raise FacilityError(f"{proxy} is missing; make facility installs it with npm")
    return {**{name: path for name, path in found.items() if path}, "condor": release, "proxy": proxy.absolute()}


def environment_of(places: Places, python: Path, condor: Path) -> dict[str, str]:
    """Return the environment of services, and of the users' notebooks."""
    path = [str(python.parent), str(condor / "bin"), str(condor / "sbin"), *PATHS]
    return {
        "PATH": os.pathsep.join(path), "LANG": "C.UTF-8", "HOME": "/nonexistent",
        "CONDOR_CONFIG": str(places.folder / "etc" / "condor.conf"),
    }  # fmt: skip


def readable_python(places: Places, user: str) -> Path:
    """Return a Python with portico and JupyterHub that the users can read.

    Raises
    ------
    FacilityError
        If there is none.
    """
    test = ["-c", "import portico, distributed, jupyterhub, jupyterlab, sys; sys.exit(sys.prefix == sys.base_prefix)"]
    known = places.folder / "etc" / "python"  # which takes seconds to find out
    if known.exists() and (python := Path(known.read_text())).exists():
        return python
    python = _find_python(places, user, test)
    known.write_text(str(python))
    return python


def _find_python(places: Places, user: str, test: list[str]) -> Path:
    if _runs(user, Path(sys.executable), test):
        return Path(sys.executable)
    # That of the clone is in a home that is closed to others: the same packages with the system's own Python.
    folder = places.folder / "python"
    python = folder / "bin" / "python"
    if not python.exists():
        system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
        if not system.exists():
            raise FacilityError(f"{user} cannot read {sys.executable}, and {system} is missing; make the "
                                "environment anew: make distclean facility PYTHON=/usr/bin/python3")  # fmt: skip
        subprocess.run([system, "-I", "-m", "venv", "--without-pip", folder], check=True)
        packages = sysconfig.get_path("purelib")
        inside = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
        Path(inside, "facility.pth").write_text(f"{REPOSITORY / 'src'}\nimport site; site.addsitedir({packages!r})\n")
        for name in ("share", "etc"):
            (folder / name).mkdir(exist_ok=True)
            (folder / name / "jupyter").symlink_to(Path(sys.prefix) / name / "jupyter")
        scripts = {"portico": "portico.cli:main", "dask": "dask.__main__:main"}
        for name, target in scripts.items():
            module, function = target.split(":")
            script = folder / "bin" / name
            script.write_text(f"#!{python}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
            script.chmod(0o755)
    if not _runs(user, python, test):
        raise FacilityError(f"{user} cannot import portico and jupyterhub with {python}, made of {sys.prefix}: "
                            "is it readable for all?")  # fmt: skip
    return python


def _runs(user: str, program: Path, arguments: Sequence[str]) -> bool:
    account = pwd.getpwnam(user)
    command = [str(program), *arguments]
    environment = {"PATH": os.pathsep.join(PATHS), "HOME": account.pw_dir}
    try:
        done = subprocess.run(command, env=environment, cwd="/", capture_output=True, check=False, **become(account))
    except PermissionError:
        return False
    return bool(done.returncode == 0)


def make_events(places: Places, python: Path, entries: int = EVENTS) -> dict[str, list[str]]:
    """Make the events of the demonstration, once, and return the paths of the files of each sample."""
    target, part = places.folder / "data" / "events", places.folder / "data" / "events.part"
    if not target.exists():
        print("portico: making events for the demonstration", flush=True)
        account = service()
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        own(part, account)
        write_analysis(part / "analysis", entries, steps=SIMULATION)
        command = [str(python), "-m", "portico.cli", "run", str(part / "analysis"), "--run", str(part / "run")]
        environment = {"PATH": os.pathsep.join(PATHS), "HOME": str(part), "LANG": "C.UTF-8"}
        done = subprocess.run(command, env=environment, cwd=part, capture_output=True, text=True, check=False,
                              **become(account))  # fmt: skip
        if done.returncode:
            raise FacilityError(f"the events could not be made: {done.stderr[-2000:]}")
        (part / "run" / "simulate").rename(target)
        shutil.rmtree(part)
    return {name: sorted(path.name for path in (target / name).glob("*.root")) for name in SAMPLES}


def _write_for_users(places: Places, state: State, events: dict[str, list[str]], entries: int) -> None:
    """Write the analysis and the site, and give each user a copy of the notebook and of the site."""
    server = f"root://127.0.0.1:{state.ports['xrootd']}//events"
    urls = {name: [f"{server}/{name}/{file}" for file in files] for name, files in events.items()}
    write_analysis(places.folder / "share" / "search", entries, "events", urls.__getitem__)
    for name in state.users:
        home = places.folder / "home" / name
        copy_for(name, REPOSITORY / "notebooks" / "hnl.ipynb", home / "hnl.ipynb")
        settings = ".jupyter/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
        copy_for(name, DEPLOY / "jupyterhub" / "notification.jupyterlab-settings", home / settings)
        copy_for(name, DEPLOY / "portico" / "facility.yaml", home / ".config" / "portico" / "sites" / "facility.yaml")


def _start_condor(places: Places, state: State, release: Path, environment: dict[str, str]) -> None:
    folder, account = places.folder / "condor", service()
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name).chmod(0o755)
    own(folder, account)
    keys = places.folder / "condor-keys"  # of root, unlike the folder of the daemons
    for name in (".", "keys", "tokens"):
        (keys / name).mkdir(exist_ok=True)
        (keys / name).chmod(0o700)
    values = {"RELEASE": release, "FOLDER": folder, "PORT": state.ports["condor"], "CPUS": CPUS, "MEMORY": MEMORY,
              "SERVICE": account.pw_name, "KEYS": keys,
              "CONDOR_IDS": f"CONDOR_IDS = {account.pw_uid}.{account.pw_gid}" if os.geteuid() == 0 else ""}  # fmt: skip
    pool = fill(DEPLOY / "htcondor" / "pool.conf", places.folder / "etc" / "condor.conf", values)
    users = fill(DEPLOY / "htcondor" / "users.conf", places.folder / "etc" / "condor-users.conf", values)
    with pool.open("a") as stream:
        stream.write(f"include : {users}\n")
        if os.geteuid() != 0:
            # HTCondor takes the home of the account, not $HOME; without a token, whoever can read the key of the tokens
            # becomes condor@password, which may not submit jobs.
            home = places.folder / "home" / account.pw_name / ".condor"
            stream.write(f"SEC_TOKEN_DIRECTORY = {home / 'tokens.d'}\nSEC_KNOWN_HOSTS = {home / 'known_hosts'}\n")
    start(places, state, "condor", [release / "sbin" / "condor_master", "-f"], environment)


def make_token(places: Places, name: str, environment: dict[str, str]) -> None:
    """Give a user a token for HTCondor, unless there is one.

    Raises
    ------
    FacilityError
        If HTCondor makes none.
    """
    folder = places.folder / "home" / name / ".condor" / "tokens.d"
    if (folder / "facility").exists():
        return
    program = shutil.which("condor_token_create", path=environment["PATH"])
    command = [program, "-identity", f"{name}@localdomain"]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if made.returncode or not made.stdout.strip():
        raise FacilityError(f"condor_token_create made no token for {name}: {made.stderr.strip()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_secret(folder / "facility", made.stdout)
    own(folder.parent, pwd.getpwnam(name))


def _condor_ready(environment: dict[str, str]) -> bool:
    """Whether there is a slot, and a queue that answers."""
    for kind in ("-startd", "-schedd"):
        program = shutil.which("condor_status", path=environment["PATH"])
        command = [program, kind, "-af", "Name"]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if not said.stdout.strip():
            return False
    return True


def _start_xrootd(places: Places, state: State, program: Path, environment: dict[str, str]) -> None:
    folder = places.folder / "xrootd"
    folder.mkdir(exist_ok=True)
    own(folder, service())
    values = {"PORT": state.ports["xrootd"], "DATA": places.folder / "data", "MODE": "r/o", "FOLDER": folder}
    config = fill(DEPLOY / "xrootd" / "xrootd.conf", places.folder / "etc" / "xrootd.conf", values)
    start(places, state, "xrootd", [program, "-c", config], environment, service())


def _start_prometheus(places: Places, state: State, program: Path, environment: dict[str, str]) -> None:
    folder = places.folder / "prometheus"
    folder.mkdir(exist_ok=True)
    own(folder, service())
    metrics = json.dumps([f"127.0.0.1:{state.ports[name]}" for name in state.users])
    values = {"HUB": state.ports["proxy"], "METRICS": metrics}
    config = fill(DEPLOY / "prometheus" / "prometheus.yml", places.folder / "etc" / "prometheus.yml", values)
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder}",
               f"--web.listen-address=127.0.0.1:{state.ports['prometheus']}"]  # fmt: skip
    start(places, state, "prometheus", command, environment, service())


def _start_proxy(places: Places, state: State, proxy: Path, environment: dict[str, str]) -> None:
    folder = places.folder / "hub"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    token = folder / "proxy_token"
    if not token.exists():
        write_secret(token, secrets.token_hex(32))
    hub, ports = f"http://127.0.0.1:{state.ports['api']}", state.ports
    command = [
        proxy, "--ip=127.0.0.1", f"--port={ports['proxy']}", "--api-ip=127.0.0.1", f"--api-port={ports['routes']}",
        f"--default-target={hub}", f"--error-target={hub}/hub/error",
    ]  # fmt: skip
    start(places, state, "proxy", command, {**environment, "CONFIGPROXY_AUTH_TOKEN": token.read_text()}, service())


def _start_hub(places: Places, state: State, python: Path, environment: dict[str, str]) -> None:
    folder = places.folder / "hub"
    ports = {"HUB": state.ports["proxy"], "API": state.ports["api"], "ROUTES": state.ports["routes"]}
    analysis = places.folder / "share" / "search" / "analysis.yaml"
    values = {
        **ports, "FOLDER": folder, "PYTHON": python, "HOMES": places.folder / "home",
        "PASSWORDS": places.folder / "passwords", "ANALYSIS": analysis,
        "METRICS": json.dumps({name: state.ports[name] for name in state.users}),
    }  # fmt: skip
    name = "jupyterhub_config.py"
    config = fill(DEPLOY / "jupyterhub" / name, places.folder / "etc" / name, values)
    start(places, state, "hub", [python, "-m", "jupyterhub", "--config", config], environment)
