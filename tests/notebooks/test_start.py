"""`make notebook`: the notebook is one of the project's, and JupyterLab is for this machine alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.notebooks import lab

TOOL = Path(__file__).parents[2] / "tools" / "notebook.py"


def test_an_unknown_notebook_is_refused_with_those_there_are() -> None:
    said = subprocess.run([sys.executable, TOOL, "hnl2"], capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert said.stderr == "portico: no notebook 'hnl2'; valid: dimuon.ipynb, hnl.ipynb\n"


@pytest.mark.full
@pytest.mark.browser
def test_it_prints_an_address_that_answers_on_this_machine_alone(tmp_path: Path) -> None:
    lab.require()
    places = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    log = tmp_path / "log"
    with log.open("w") as file:
        command = [sys.executable, TOOL, "--no-browser", "notebooks/dimuon.ipynb"]
        process = subprocess.Popen(command, env={**os.environ, **places}, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + lab.LOAD
        address = r"(http://127\.0\.0\.1:\d+/)lab/tree/dimuon\.ipynb\?token=(\w+)"
        while not (found := re.search(address, log.read_text())):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        time.sleep(1.0)
        with urlopen(f"{found[1]}api/contents/dimuon.ipynb?token={found[2]}", timeout=lab.LOAD) as answer:
            assert b"The first hour" in answer.read()
        with pytest.raises(HTTPError, match="403"):
            urlopen(f"{found[1]}api/contents/dimuon.ipynb", timeout=lab.LOAD)
        assert "ssh -L" in log.read_text()
    finally:
        process.terminate()
        process.wait(30)
