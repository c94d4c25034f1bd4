"""Names, messages, files and URLs of strangers give no orders, cost no hours and show no secrets."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from portico.analysis.analysis import Analysis
from portico.analysis.dataset import load_dataset
from portico.cli import cli
from portico.cli.base import echo
from portico.columns import ColumnCache
from portico.config import parse_json, read_yaml
from portico.corrections import schema
from portico.environment import library
from portico.environment.credentials import find_credentials, locate
from portico.environment.interpreter import isolated
from portico.environment.scratch import Scratch
from portico.errors import ConfigError, InputError, PorticoError, PorticoWarning, RunFolderError, StepError
from portico.executors.batchjobs import job_of
from portico.files import TreeSummary
from portico.files.remembered import Checksum, Remembered, remembered
from portico.files.storage import normal
from portico.files.version import Version
from portico.monitor.console import SafeConsole
from portico.monitor.progress import Progress
from portico.runfolder import version
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Attempt, Chunk, Lost, Planned
from portico.runfolder.step_files import StepFiles
from portico.shown import shown, without_secrets
from portico.stats.exports import card_edits
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
    "a: " + "[" * 20_000, "- " * 20_000, "a: 2001-99-99", "a: 1_" + "0" * 5000,
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


def test_names_in_the_ledger_of_a_stranger_stay_in_its_folder(tmp_path: Path) -> None:
    """A driver removes files of an earlier summary that were changed, and an export writes one for each sample."""
    folder = RunFolder(tmp_path / "runs" / "run")
    (tmp_path / "mine").write_text("mine")
    with folder.claim({"analysis": "a"}) as (_, ledger):
        ledger.plan("s", 0, "summary", {}, others=False)
        ledger.set_files("s", "key", [{"name": "../../../mine", "size": 4, "adler32": "0", "stamp": "0"}], "{}")
        files = StepFiles(folder.path, "s", ledger)
        for action in (lambda: files.write("other", {}), lambda: files.path("mine"), files.clear):
            with pytest.raises(RunFolderError, match="in place of a name"):
                action()
    assert (tmp_path / "mine").read_text() == "mine"
    with pytest.raises(RunFolderError, match=r"'\.\./x' in place of a name"):
        version.Version(1, 0.0, {"s": version.StepVersion("frame", "done", {"../x": "key"}, None, {}, {})})


def test_json_of_a_run_folder_that_is_nested_too_deeply(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.claim({"analysis": "a"}):
        pass
    for name in ("lock", "run.json"):
        (tmp_path / "run" / name).write_text("[" * 200_000)
    with pytest.raises(RunFolderError, match=r"run\.json: is damaged"):
        folder.manifest()
    with folder.claim({"analysis": "a"}) as (claimed, _):
        assert any("run.json: is damaged" in note for note in claimed.notes)


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
    with pytest.raises(ConfigError, match="is one of portico's own files"):
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
        normal(url)


@pytest.mark.parametrize("url", URLS)
def test_secrets_of_urls_are_in_no_cache(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is remembered of a file serves the next token, too."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("PORTICO_CACHE", str(cache))
    summary = TreeSummary(url, "uuid", "Events", "TTree", 10, (10,), 100, ())
    version, other = Version("1:2", "1:2", settled=True), url.replace("eyJhbGciOi", "eyJanother")
    remembered().keep([("Events", version, summary)])
    remembered().keep_checksum(url, version, Checksum("00000001", "its server", 0.0))
    ColumnCache(cache / "columns").chunk(url, "Events", 0, 10).keep_schema(b"columns", url)
    assert remembered().summaries([other], "Events")[other][1].file == other
    assert remembered().checksum(other, "1:2") == Checksum("00000001", "its server", 0.0)
    written = b"".join(path.read_bytes() for path in cache.rglob("*") if path.is_file()).decode(errors="replace")
    assert "host" in written or "bucket" in written
    assert not [secret for secret in SECRETS if secret in written]


@pytest.mark.parametrize("how", ["open to all", "of another user"])
def test_what_others_can_write_is_not_remembered(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PORTICO_CACHE", str(folder))
    folder.mkdir()
    if how == "open to all":
        folder.chmod(0o777)
    elif os.getuid() == 0:
        os.chown(folder, 65534, -1)
    else:
        mine = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    version = Version("1:2", "1:2", settled=True)
    memory = Remembered(folder / "files.sqlite")
    memory.keep_checksum("/a.root", version, Checksum("00000001", "reading it", 0.0))
    assert memory.checksum("/a.root", "1:2") is not None
    assert not list(folder.iterdir())


def test_what_is_removed_is_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that Portico cleans may be a user's own: a run folder below /tmp, or the folders that variables name."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with RunFolder(tmp_path / "portico-run").claim({"analysis": "a"}):
        pass
    names = ["portico-run/mine", "v1/notes/text", "ab/schema", "mine.so", "ab/" + "0" * 38 + "/mine"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    Scratch().close()
    cache = ColumnCache(tmp_path, most_bytes=1)
    cache.chunk("a", "Events", 0, 10).keep_schema(b"columns", "a.root")
    cache.wrote(100)
    assert cache.clear() == 0
    monkeypatch.setattr(library, "_KEPT", 1)
    for number in range(3):
        library.keep(tmp_path / f"{number:040x}.so", b"library")
    assert [path.name for path in tmp_path.glob("0*.so")] == [f"{2:040x}.so"]
    (tmp_path / f"{2:040x}.so").unlink()
    assert [path for path in before if not path.exists()] == []
    assert all((tmp_path / name).read_text() == "mine" for name in names)


@pytest.mark.parametrize("command", [
    ["limit", "URL"], ["fit", "URL"], ["compare", "URL", "URL"], ["corrections", "URL"], ["corrections", "show", "URL"],
    ["run", "URL"], ["status", "URL"], ["URL"], ["status", "--URL"], ["lint", "URL"], ["site", "URL"],
])  # fmt: skip
def test_wrong_arguments_are_repeated_without_secrets(command: list[str]) -> None:
    for url in (*URLS, f"https://host/{ESCAPE}"):
        said = CliRunner().invoke(cli, [word.replace("URL", url) for word in command])
        assert said.exit_code in {1, 2}
        assert said.output
        assert not [secret for secret in SECRETS if secret in said.output], said.output
        assert "\x1b" not in said.output


CARD = """imax 1
jmax 1
kmax *
{shapes}
bin b
observation 10
bin b b
process s {name}
process 0 1
rate 5 10
lumi lnN 1.1 1.1
{more}
"""


@pytest.mark.parametrize(("more", "shapes", "words"), [
    ("nuisance edit drop (a+)+ * lumi", "", "repeats too much"),
    ("nuisance edit drop (a|aa)*! * lumi", "", "repeats too much"),
    ("nuisance edit drop a*a*a*a*a*! * lumi", "", "repeats too much"),
    ("", "shapes * * pipe $PROCESS", "pipe: cannot be read: it is a pipe"),
    ("", "shapes * * /dev/zero $PROCESS", "/dev/zero: cannot be read: it is a pipe, a device"),
])  # fmt: skip
def test_a_card_of_a_stranger_costs_no_hours(more: str, shapes: str, words: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "card.txt").write_text(CARD.format(name="a" * 40, shapes=shapes, more=more))
    began = time.process_time()
    with pytest.raises(PorticoError, match=re.escape(words)):
        read_model(tmp_path / "card.txt")
    assert time.process_time() - began < 5


@pytest.mark.parametrize("pattern", [".*", "(a|b)_.*", "a+", "[*+]{2}.*", r"\*\+\*\+\*a", "(?!x)a*"])
def test_patterns_of_cards_are_read(pattern: str) -> None:
    assert card_edits._pattern(pattern).pattern == pattern


@pytest.mark.parametrize("path", ["pipe", "/dev/zero"])
def test_what_never_ends_is_no_model(path: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is a pipe or a device, not a file"):
        read_model(tmp_path / path)
    (tmp_path / "fit.xml").write_text("<Combination><Input>channel.xml</Input></Combination>")
    (tmp_path / "channel.xml").write_text(f'<Channel Name="c" InputFile="{path}"></Channel>')
    with pytest.raises(InputError, match=f"{path} is a pipe, a device or a folder"):
        read_model(tmp_path / "fit.xml")


def test_a_patch_does_not_copy_without_end(tmp_path: Path) -> None:
    """Each of these lines doubles what is there."""
    lines = [{"op": "add", "path": "/x", "value": ["x"] * 1000}] + [{"op": "copy", "from": "/x", "path": "/x/-"}] * 60
    (tmp_path / "patch.json").write_text(json.dumps(lines))
    (tmp_path / "model.json").write_text(json.dumps({"channels": [], "observations": [], "measurements": []}))
    with pytest.raises(InputError, match="copies more than 1,000,000 values"):
        read_model(tmp_path / "model.json", [tmp_path / "patch.json"])


def test_what_a_correction_becomes_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_LARGEST", 10_000)
    content = gzip.compress(b" " * 100_000)
    with pytest.raises(ConfigError, match="when it is decompressed"):
        schema.read_set(content, "corrections.json.gz")


@pytest.mark.parametrize(("url", "refused"), [
    ("https://host/${MY_TOKEN}.root", True), ("https://${BEARER_TOKEN}.host/a.root", True),
    ("https://host/a.root?x=${AWS_SECRET_ACCESS_KEY}", True), ("https://host/a.root?authz=${MY_TOKEN}", False),
    ("root://me:${MY_PASSWORD}@host//a.root", False), ("https://host/${PLACE}.root", False),
])  # fmt: skip
def test_a_list_of_files_does_not_send_secrets(
    url: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MY_TOKEN", "BEARER_TOKEN", "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD", "PLACE"):
        monkeypatch.setenv(name, "hunter2")
    (tmp_path / "files.txt").write_text(f"{url}\n")
    (tmp_path / "datasets.yaml").write_text("samples: {a: {files: files.txt}}")
    if refused:
        with pytest.raises(ConfigError, match="holds a secret") as error:
            load_dataset(tmp_path / "datasets.yaml")
        assert "hunter2" not in str(error.value)
    else:
        assert load_dataset(tmp_path / "datasets.yaml")["a"].files == (re.sub(r"\$\{\w+\}", "hunter2", url),)


def test_a_ledger_that_was_shared_on_purpose_stays_so(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.claim({"analysis": "a"}):
        folder.ledger_path.chmod(0o640)
    with folder.claim({"analysis": "a"}):
        pass
    assert stat.S_IMODE(folder.ledger_path.stat().st_mode) == 0o640


def test_what_is_no_secret_stays() -> None:
    assert without_secrets("invalid address 'me:hunter2@host:1'") == "invalid address '...@host:1'"
    for text in (
        "root://user@host//a.root", "/data/a:b@c/d.root", "me@host:1 at 12:30", "x://y/authz/z", "a=b; c=d",
        "https://host/a.root?run=1&token_count=3",
    ):  # fmt: skip
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
