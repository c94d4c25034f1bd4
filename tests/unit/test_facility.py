"""``make facility``: what is missing, and what an ordinary user is told."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tools.facility import services, start
from tools.facility.places import FacilityError

SCRIPT = REPOSITORY / "tools" / "services.sh"


def test_all_missing_programs_are_named_with_one_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(services, "PATHS", ())
    with pytest.raises(FacilityError, match=r"sudo apt-get install xrootd-server prometheus nodejs$"):
        start._programs(None)


def test_make_facility_installs_the_program_that_unpacking_needs() -> None:
    command = ["make", "--dry-run", "--always-make", ".venv/.facility"]
    said = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    (program,) = set(re.findall(r"\.venv/bin/(?!python)(\w+)", SCRIPT.read_text()))
    assert re.search(rf"'\.\[facility\]' {program}$", said, re.MULTILINE)


@pytest.mark.parametrize(("option", "unwanted"), [([], "debootstrap"), (["--facility"], "slurmctld")])
def test_an_ordinary_user_is_told_only_what_is_needed(option: list[str], unwanted: str, tmp_path: Path) -> None:
    """The script runs with no package installed, and no HTCondor that could be installed or unpacked."""
    commands = dict.fromkeys(("dpkg-query", "apt-get", "apt-cache", "condor_master"), "exit 1")
    for name, body in {**commands, "id": "echo 1000"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(["bash", SCRIPT, *option], env=environment, check=True, capture_output=True, text=True)
    (line,) = done.stdout.splitlines()
    assert "xrootd-server" in line
    assert "prometheus" in line
    assert unwanted not in line
    assert ("make facility needs it" in line) == bool(option)
