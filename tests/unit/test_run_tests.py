"""The processes of pytest that `make test` runs: their counts add up and no failure is lost."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "run_tests.py"
PASSES = "def test_a():\n    pass\n\n\ndef test_b():\n    pass\n"
FAILS = "def test_c():\n    assert 1 == 2\n\n\ndef test_d():\n    pass\n"
DIES = "import os\n\n\ndef test_e():\n    os._exit(7)\n"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_tests", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_summaries_are_read_and_written_as_pytest_does(script: ModuleType) -> None:
    line = "== 3 failed, 2960 passed, 1 skipped, 1 warning, 1 error in 2295.18s (0:38:15) =="
    found = script.counts(["= FAILURES =", line])
    assert found == Counter(failed=3, passed=2960, skipped=1, warnings=1, errors=1)
    assert script.counts(["=== no tests ran in 0.01s ==="]) == Counter()
    assert script.counts(["Killed"]) is None
    written = script.summary(found, 2295.18)
    assert written.strip("= ") == line.strip("= ")
    assert len(written) == 80
    assert script.counts([written]) == found


def test_every_test_belongs_to_one_process(script: ModuleType) -> None:
    repository = SCRIPT.parents[1]
    taken = Counter[Path]()
    for arguments in script.GROUPS.values():
        paths = {repository / argument for argument in arguments if not argument.startswith("--")}
        patterns = [argument.partition("=")[2] for argument in arguments if argument.startswith("--ignore")]
        ignored = {path for pattern in patterns for path in repository.glob(pattern)}
        files = {file for path in paths for file in ([path] if path.suffix else path.rglob("test_*.py"))}
        taken.update(files - ignored)
    assert taken == Counter((repository / "tests").rglob("test_*.py"))


@pytest.mark.parametrize(
    ("files", "status", "last", "said"),
    [
        ((PASSES, PASSES), 0, "4 passed in", []),
        (
            (PASSES, FAILS, DIES), 1, "1 failed, 3 passed, 1 error in",
            ["assert 1 == 2", "FAILED test_1.py::test_c", "the process '2' ended without a summary, status 7"],
        ),
    ],
)  # fmt: skip
def test_processes_end_with_one_summary(
    tmp_path: Path, files: tuple[str, ...], status: int, last: str, said: list[str]
) -> None:
    groups = {}
    for number, text in enumerate(files):
        (tmp_path / f"test_{number}.py").write_text(text)
        groups[str(number)] = [f"test_{number}.py"]
    code = f"import sys, run_tests; sys.exit(run_tests.run({groups!r}, ['-rf']))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].strip("= ").startswith(last)
    assert lines[-1].startswith("=")
    assert sum(line.startswith("=") and " in " in line for line in lines) == 1
    for words in said:
        assert words in done.stdout


def test_what_ends_it_ends_the_processes_that_it_started(tmp_path: Path) -> None:
    (tmp_path / "test_long.py").write_text(
        "import os, time\nfrom pathlib import Path\n\n\ndef test_a():\n"
        "    Path('pid').write_text(str(os.getpid()))\n    os.rename('pid', 'begun')\n    time.sleep(300)\n"
    )
    code = "import sys, run_tests; sys.exit(run_tests.run({'long': ['test_long.py']}, []))"
    begun = tmp_path / "begun"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 60
        while not begun.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "KeyboardInterrupt" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)
