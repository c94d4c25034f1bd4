"""A password and a token in the URLs of an analysis: in nothing that any command prints or writes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import write_events
from tests.services.farm.xrootd import XRootDServer

pytestmark = [pytest.mark.xrootd, pytest.mark.full, pytest.mark.timeout(1800)]

SECRETS = (b"hunter2", b"eyJhbGciOi")
STEPS = """
def keep(frame, sample):
    kept = frame.Filter("x > 2", "x > 2")
    h = kept.Histo1D(("h", "", 20, 0, 10), "x", "w")
    return {"tree": kept.Snapshot("Events", "kept.root"), "h": h, "cutflow": kept.Report()}


def print_it(frame, sample):
    print(sample, flush=True)
    raise ValueError("wrong")
"""
ANALYSIS = """
name: secrets
dataset: {{samples: {{a: {{files: {files}}}}}}}
steps: [{{name: keep, function: "mysteps:{step}", chunk: 100 entries}}]
"""
SCRIPT = """
import ROOT
frame = ROOT.RDataFrame("Events", "{url}")
histogram = frame.Filter("x > 1").Histo1D(("x", "", 10, 0, 10), "x")
print(histogram.GetMean())
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a home, a folder for temporary files, and one for runs."""
    for name in ("home", "temporary", "runs"):
        (tmp_path / name).mkdir()
    return tmp_path


def analysis(place: Path, name: str, files: list[str], step: str = "keep") -> Path:
    folder = place / "analyses" / name
    folder.mkdir(parents=True)
    (folder / "mysteps.py").write_text(STEPS)
    (folder / "analysis.yaml").write_text(ANALYSIS.format(files=files, step=step))
    return folder


def test_no_command_shows_or_keeps_them(xrootd_server: Callable[..., XRootDServer], place: Path) -> None:
    server, random = xrootd_server(), np.random.default_rng(1)
    for name in ("good", "other", "bad"):
        write_events(place / f"{name}.root", random, 250)
    content = bytearray((place / "bad.root").read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    (place / "bad.root").write_bytes(content)
    urls = {}
    for name in ("good", "other", "bad"):
        plain = server.put(place / f"{name}.root")
        urls[name] = plain.replace("//", "//me:hunter2@", 1) + "?authz=Bearer%20eyJhbGciOi.x.y&n=1"
    urls["gone"] = urls["good"].replace("good.root", "gone.root")
    good = analysis(place, "good", [urls["good"], urls["other"]])
    bad, gone = (analysis(place, name, [urls["good"], urls[name]]) for name in ("bad", "gone"))
    wrong = analysis(place, "wrong", [urls["good"]], "print_it")
    script = place / "analyses" / "script.py"
    script.write_text(SCRIPT.format(url=urls["good"]))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_C")}
    environment |= {
        "HOME": str(place / "home"), "TMPDIR": str(place / "temporary"), "XDG_CACHE_HOME": str(place / "home"),
        "XRD_CONNECTIONWINDOW": "1", "XRD_CONNECTIONRETRY": "2", "XRD_STREAMERRORWINDOW": "1",
    }  # fmt: skip

    def portico(*arguments: str | Path, status: int = 0) -> None:
        command = [sys.executable, "-m", "portico.cli", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=600, env=environment, cwd=place)
        said = done.stdout + done.stderr
        assert done.returncode == status, said.decode()
        assert not [secret for secret in SECRETS if secret in said], said.decode()
        assert b"Traceback" not in said or "--debug" in arguments, said.decode()

    runs = place / "runs"
    portico("doctor", good)
    portico("run", good, "--run", runs / "dry", "--dry-run")
    portico("run", good, "--run", runs / "good", "--workers", "1")
    portico("run", good, "--run", runs / "good", "--workers", "1")
    portico("run", bad, "--run", runs / "bad", "--workers", "1", status=1)
    portico("run", bad, "--run", runs / "bad", "--workers", "1", "--allow-partial", status=3)
    portico("run", gone, "--run", runs / "gone", "--workers", "1", "--allow-partial", status=3)
    portico("run", wrong, "--run", runs / "wrong", "--workers", "1", "--debug", status=1)
    portico("run", good, "--run", runs / "store", "--store", urls["good"], status=2)
    portico("inspect", urls["good"])
    portico("inspect", urls["good"], urls["gone"], "--json", status=1)
    portico("cache")
    portico("cache", "--json")
    portico("lint", script)
    portico("compare", runs / "good", runs / "bad", "--html", runs / "compared.html", status=1)
    portico("export", runs / "good", "keep", "-o", runs / "parquet")
    for name in ("good", "bad", "gone", "wrong"):
        for command in ("status", "report", "verify", "prune", "repair"):
            portico(command, runs / name)
        for command in ("status", "verify"):
            portico(command, runs / name, "--json")
    written = [path for folder in ("home", "temporary", "runs") for path in (place / folder).rglob("*")]
    files = [path for path in written if path.is_file()]
    assert len(files) > 30
    assert [path for path in files if any(secret in path.read_bytes() for secret in SECRETS)] == []
