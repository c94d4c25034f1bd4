"""Planted bugs: each patch in ``bugs`` breaks a copy of the source, and the simulation finds it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PATCHES = sorted((Path(__file__).parent / "bugs").glob("*.patch"))
SEEDS = "1-1000"
RARE = {"old_result", "overtaken_driver", "second_attempt_counts", "two_drivers"}
"""Those that need many seeds; tests of units show the same."""


def test_there_are_enough() -> None:
    names = {patch.stem for patch in PATCHES}
    assert len(names - RARE) >= 12
    assert names >= RARE


@pytest.mark.parametrize(
    "patch",
    [pytest.param(p, marks=pytest.mark.full if p.stem in RARE else (), id=p.stem) for p in PATCHES],
)
def test_a_planted_bug_is_found(patch: Path, tmp_path: Path) -> None:
    files = re.findall(r"^\+\+\+ b/(\S+)$", patch.read_text(encoding="utf-8"), re.MULTILINE)
    assert files
    shutil.copytree(REPOSITORY / "src" / "portico", tmp_path / "src" / "portico")
    applied = subprocess.run(
        ["git", "apply", "--verbose", str(patch)], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)},
    )  # fmt: skip
    assert applied.returncode == 0, f"the code has changed; write {patch.name} again:\n{applied.stderr}"
    for file in files:
        assert (tmp_path / file).read_text(encoding="utf-8") != (REPOSITORY / file).read_text(encoding="utf-8")
    command = [sys.executable, "-m", "tests.simulation", "--seeds", SEEDS, "--most", "1"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 1, f"not found: {patch.name}\n{done.stdout}\n{done.stderr}"
    found = re.search(r"^repeat it with: python -m tests\.simulation --seeds (\d+) -v$", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout + done.stderr
