"""One session per chore: nox -s tests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nox

LOCK = "requirements-lock.txt"
SERVICES = "gateway,hepdata,htcondor,jax,kubernetes,published,slurm,ssh,xrootd"
PYTHONS = ("3.11", "3.12", "3.13")

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True


def _install(session: nox.Session, *groups: str, project: str = "-e.[dask]") -> None:
    arguments = [part for group in groups for part in ("--group", group)]
    session.install("--constraint", LOCK, "--upgrade", "pip")
    session.install("--constraint", LOCK, *([project, "-eplugins/distrdf"] if project else []), *arguments)


@nox.session
def lint(session: nox.Session) -> None:
    """Style."""
    _install(session, "lint", project="")
    session.run("ruff", "check", ".", *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """Types."""
    _install(session, "lint")
    session.run("mypy", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Tests of the default tier but those of services."""
    _install(session, "test")
    session.run("pytest", "tests/unit", "tests/integration", *session.posargs)


@nox.session
def services(session: nox.Session) -> None:
    """Tests of the default tier that need XRootD, HTCondor or Slurm on this machine."""
    _install(session, "test", "services", project=f"-e.[{SERVICES}]")
    session.run("bash", "tools/services.sh", external=True)
    session.run("pytest", "tests/services", "tests/notebooks", *session.posargs)


@nox.session
def full(session: nox.Session) -> None:
    """Every test, as make test-all."""
    _install(session, "test", "services", "browser", "docs", project=f"-e.[{SERVICES}]")
    session.run("bash", "tools/services.sh", "--full", external=True)
    session.run("python", "tools/run_tests.py", "-m", "", *session.posargs)


@nox.session
def mutation(session: nox.Session) -> None:
    """Mutants of merging, planning, the chunk loop and selections, against their unit tests."""
    _install(session, "test", "mutation")
    session.run("mutmut", "run", *session.posargs)
    session.run("mutmut", "results")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site, in build/site."""
    _install(session, "docs")
    session.run("python", "-m", "sphinx", "--fail-on-warning", "--keep-going", "docs", "build/site", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Portico against other programs, as make bench."""
    _install(session, project="-e.[bench]")
    session.run("python", "-m", "bench.table", *session.posargs)


@nox.session(venv_backend="venv", reuse_venv=True)
def lock(session: nox.Session) -> None:
    """Write requirements-lock.txt anew. On the oldest Python, whose choice the newer ones take as well."""
    session.install("--upgrade", "pip")
    report = Path(session.create_tmp()) / "report.json"
    session.run(
        "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--only-binary=:all:", "--no-binary=pylatex",
        "--report", str(report), "--group", "dev", "--group", "browser", "--group", "docs",
        f".[{SERVICES},dask,facility,jupyter,numba,parquet]", "pip",
    )  # fmt: skip
    found = {
        item["metadata"]["name"]: item["metadata"]["version"] for item in json.loads(report.read_text())["install"]
    }
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found.items()}
    pins.pop("portico-hep")
    path = Path(LOCK)
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    path.write_text("\n".join([*head, *(f"{name}=={version}" for name, version in sorted(pins.items()))]) + "\n")
