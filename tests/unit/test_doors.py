"""Names, messages, files and URLs of strangers give no orders, cost no hours and show no secrets."""

from __future__ import annotations

import io
import json
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from portico.analysis.analysis import Analysis
from portico.analysis.dataset import load_dataset
from portico.cli.base import echo
from portico.config import parse_json, read_yaml
from portico.environment.credentials import find_credentials, locate
from portico.environment.interpreter import isolated
from portico.errors import ConfigError, InputError, PorticoError, PorticoWarning, StepError
from portico.executors.batchjobs import job_of
from portico.files.storage import storage_of
from portico.monitor.console import SafeConsole
from portico.monitor.progress import Progress
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Attempt, Chunk, Lost, Planned
from portico.shown import shown, without_secrets
from portico.stats.model_file import read_model
from portico.worker.summary_step import summarise

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\rgone\u202egnp"
SECRETS = ("hunter2", "eyJhbGciOi", "AKIA99")
URLS = (
    "root://me:hunter2@host//store/a.root", "https://host/a.root?authz=Bearer%20eyJhbGciOi.x.y&n=1",
    "root://host//a.root?xrd.wantprot=unix&authz=eyJhbGciOi", "davs://me:hunter2@host:443/a.root?access_token=AKIA99",
    "s3://bucket/a.root?X-Amz-Signature=AKIA99&X-Amz-Date=1", "https://host/a.root?authz=Bearer eyJhbGciOi.x",
)  # fmt: skip


def bomb(levels: int, merged: bool = False) -> str:
    """Nine times nine times nine ... values in a few lines."""
    first, more = (
        ("a0: &a0 {k0: 1}", "a{}: &a{} {{<<: [{}], k{}: 1}}") if merged else ("a0: &a0 [lol]", "a{}: &a{} [{}]")
    )
    lines = [first]
    lines += [more.format(n, n, ", ".join([f"*a{n - 1}"] * 9), n) for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("text", [
    bomb(9), bomb(30), bomb(30, merged=True), "a: &a [*a]", "a: &a {b: *a}", "a: " + "9" * 100_000,
    "a: 0x" + "f" * 100_000,
    "a: 1" + ":59" * 50_000, "a: " + "[" * 20_000, "- " * 20_000, "a: 2001-99-99", "a: 1_" + "0" * 5000,
], ids=lambda text: text[:12])  # fmt: skip
def test_yaml_that_explodes_is_refused_within_a_second(text: str, tmp_path: Path) -> None:
    path = tmp_path / "analysis.yaml"
    path.write_text(text)
    began = time.process_time()
    with pytest.raises(ConfigError, match=r"analysis\.yaml: not valid YAML"):
        read_yaml(path)
    assert time.process_time() - began < 1


def test_aliases_that_save_writing_are_read(tmp_path: Path) -> None:
    path = tmp_path / "datasets.yaml"
    path.write_text("base: &base {year: 2018, list: [1, 2]}\nsamples:\n" + "".join(
        f"  s{n}: {{<<: *base, n: {n}, same: *base}}\n" for n in range(500)))  # fmt: skip
    assert read_yaml(path)["samples"]["s499"] == {
        "year": 2018,
        "list": [1, 2],
        "n": 499,
        "same": {"year": 2018, "list": [1, 2]},
    }


@pytest.mark.parametrize("text", ["9" * 100_000, "[-" + "9" * 5000 + "]", "[" * 100_000, '{"a": ' * 100_000])
def test_json_that_costs_too_much_is_refused_everywhere(text: str, tmp_path: Path) -> None:
    """By the function that every reader of a user's file uses; and the files of a list and of a fit with it."""
    path = tmp_path / "files.json"
    path.write_text(text)
    (tmp_path / "datasets.yaml").write_text("samples: {a: {files: files.json}}")
    began = time.process_time()
    with pytest.raises(ValueError, match=r"digits|nested"):
        parse_json(text)
    with pytest.raises(PorticoError, match=r"files\.json.*not JSON"):
        read_model(path)
    with pytest.raises(PorticoError, match=r"files\.json.*(not JSON|no such)"):
        load_dataset(tmp_path / "datasets.yaml")
    assert time.process_time() - began < 1
    assert parse_json('{"n": 123456789012345678901234567890}') == {"n": 123456789012345678901234567890}


@pytest.mark.parametrize("name", ["../x", "../../x", "/tmp/x", "a/b", ".hidden", ".", "a\x1b[2J", "a\\b", "x" * 300])
@pytest.mark.parametrize("make", [Figure, lambda: {"x": np.arange(3)}, lambda: "text"])
def test_names_of_a_summary_stay_in_its_folder(name: str, make: Callable[[], Any]) -> None:
    value = make()
    if isinstance(value, str):
        name += ".txt"
    with pytest.raises(StepError, match=r"has a name like 'card\.txt'") as error:
        summarise(lambda *_: {name: value}, {}, {}, {})
    assert "\x1b" not in str(error.value)


def test_two_files_of_a_summary_are_never_one() -> None:
    table = {"x": np.arange(3)}
    with pytest.raises(StepError, match="two files of the summary have the name"):
        summarise(lambda *_: {"card": table, "Card.root": b"mine"}, {}, {}, {})
    for name in ("summary.json", "Summary.JSON"):
        with pytest.raises(StepError, match=r"has a name like 'card\.txt'"):
            summarise(lambda *_, name=name: {name: b"{}"}, {}, {}, {})


@pytest.mark.parametrize(
    ("step", "sample"), [("lock", "a"), ("Lock", "a"), ("s", "results.root"), ("s", "results.json")]
)
def test_names_of_the_run_folder_are_refused(make_analysis: Callable[..., Analysis], step: str, sample: str) -> None:
    with pytest.raises(ConfigError, match="is a file of portico's"):
        make_analysis("", f'  - {{name: {step}, function: "mysteps:s"}}', f"    {sample}: {{entries: 10}}")


def test_names_and_messages_give_no_orders_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console = SafeConsole(file=io.StringIO(), force_terminal=True, width=200)
    table = Table("name")
    table.add_row(ESCAPE)
    for what in (table, ESCAPE, Text(ESCAPE, style="red"), Text.assemble((ESCAPE, "bold"))):
        console.print(what)
    assert isinstance(console.file, io.StringIO)
    progress = Progress(SafeConsole(file=console.file, force_terminal=True, width=200))
    with progress:
        progress.begin("s", {ESCAPE: 10, "b": 10}, {}, 1)
        progress.warn(ESCAPE)
        progress.advance(ESCAPE, 10)
    written = console.file.getvalue()
    assert "owned" in written
    assert "\x1b[1m" in written  # our own colours
    for order in ("\x1b]", "\x07", "\x9b", "\rgone", "\u202e"):
        assert order not in written
    echo(ESCAPE)
    assert not set(capsys.readouterr().out) & set("\x1b\x07\x9b\r\u202e")
    for error in (InputError(ESCAPE), PorticoWarning(ESCAPE)):
        assert not set(str(error)) & set("\x1b\x07\x9b\r\u202e")
    assert shown("two\nlines\tand ünïcödé") == "two\nlines\tand ünïcödé"


@pytest.mark.parametrize("url", URLS)
def test_secrets_of_urls_are_shortened_in_all_that_is_shown_and_kept(url: str, tmp_path: Path) -> None:
    """In exceptions, in the terminal, and in every byte of a ledger."""
    chunk = Chunk(url, "uuid", "Events", 0, 10)
    folder = RunFolder(tmp_path / "run")
    with folder.claim({"analysis": "a"}) as (_, ledger):
        ledger.plan("s", 0, "frame", {"a": [Planned("a", 0, "key", chunk)]}, others=False)
        ledger.commit(
            [], [Attempt("key", 1, "input", f"cannot open {url}: refused", f"log of '{url}'\n", {"file": url})]
        )
        ledger.set_lost("s", [Lost("a", "key", url, 10, "input", f"{url}: gone")])
    assert stat.S_IMODE(folder.ledger_path.stat().st_mode) == 0o600
    written = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()).decode(
        errors="replace"
    )
    console = SafeConsole(file=io.StringIO(), width=500)
    console.print(url, f"in words {url}, and more", markup=False)
    assert isinstance(console.file, io.StringIO)
    for text in (written, console.file.getvalue(), str(InputError(f"{url}: no")), without_secrets(f"({url})")):
        assert "host" in text or "bucket" in text
        assert not [secret for secret in SECRETS if secret in text]
    with pytest.raises(ConfigError, match="must not carry a password"):
        storage_of(url)


def test_a_ledger_that_was_shared_on_purpose_stays_so(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.claim({"analysis": "a"}):
        folder.ledger_path.chmod(0o640)
    with folder.claim({"analysis": "a"}):
        pass
    assert stat.S_IMODE(folder.ledger_path.stat().st_mode) == 0o640


def test_what_is_no_secret_stays() -> None:
    for text in ("root://user@host//a.root", "https://host/a.root?run=1&token_count=3", "a=b; c=d", "x://y/authz/z"):
        assert without_secrets(text) == text


@pytest.mark.parametrize("kind", ["device", "pipe", "folder", "large", "stranger"])
@pytest.mark.parametrize("variable", ["BEARER_TOKEN_FILE", "X509_USER_PROXY"])
def test_traps_in_place_of_a_credential_are_refused_at_once(
    kind: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "credential"
    if kind == "device":
        path = Path("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"x" * (2_000_000 if kind == "large" else 10))
        path.chmod(0o600)
    if kind == "stranger":
        mine = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: mine + 1)
        if mine == 0:
            os.chown(path, 65534, -1)
    for name in ("BEARER_TOKEN", "BEARER_TOKEN_FILE", "X509_USER_PROXY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(path))
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend([locate(), find_credentials()]), daemon=True)
    thread.start()
    thread.join(5)
    assert len(found) == 2, "it hangs"
    (source,) = [source for source in found[0] if source.where == str(path)]
    assert source.content is None
    assert source.problem
    assert found[1].files == {}


def test_python_starts_without_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}/mine{os.pathsep}{os.pathsep}.{os.pathsep}")
    command, environment = isolated(MORE="1")
    assert command[1:] == ["-P"]
    assert environment["PYTHONPATH"] == "/mine"
    assert environment["MORE"] == "1"
    monkeypatch.setenv("PYTHONPATH", os.pathsep)
    assert "PYTHONPATH" not in isolated()[1]
    site: Any = type("Site", (), {"python": "/opt/python"})()
    assert job_of(site, tmp_path / "run" / "batch.jobs" / "a", 1).command[:3] == ("/opt/python", "-P", "-m")
    assert json.dumps(environment)
