"""Proxies and tokens: where they are found, how long they live, how they are installed, and that none is shown."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest

from portico.environment.credentials import (
    Credentials,
    expires_before,
    find_credentials,
    install,
    lifetimes,
    locate,
    needs_credentials,
)
from portico.environment.scratch import Scratch
from portico.workflow.credential_refresh import CredentialRefresh
from tests.proxies import NOW, make_proxy, make_token


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):  # pytest makes its folders for the user that there is
    """No credentials but those of the test: the default places are those of a user that does not exist."""
    monkeypatch.setattr(os, "getuid", lambda: 4294900000)
    with mock.patch.dict(os.environ):  # what is installed is forgotten
        for name in ("X509_USER_PROXY", "BEARER_TOKEN", "BEARER_TOKEN_FILE", "XDG_RUNTIME_DIR"):
            os.environ.pop(name, None)
        yield


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_nothing_is_found_where_nothing_is():
    assert locate() == ()
    assert find_credentials() == Credentials({})
    assert find_credentials().digest == ""


def test_tokens_are_found_in_the_order_of_the_specification(monkeypatch, tmp_path):
    def found():
        return [(source.where, source.content) for source in locate() if source.content is not None]

    runtime = tmp_path / "runtime"
    runtime.mkdir()
    at_runtime = write(runtime / "bt_u4294900000", b"of the session\n")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert found() == [(str(at_runtime), b"of the session")]
    named = write(tmp_path / "named", b"  of the file\n")
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(named))
    assert found() == [(str(named), b"of the file")]
    monkeypatch.setenv("BEARER_TOKEN", " of the variable ")
    assert found() == [("$BEARER_TOKEN", b"of the variable")]
    assert find_credentials().files == {"token": b"of the variable"}


def test_a_named_file_that_is_not_there_is_told_and_the_next_place_is_used(monkeypatch, tmp_path):
    write(tmp_path / "bt_u4294900000", b"t")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "gone"))
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "gone.pem"))
    proxy, named, used = locate()
    assert "X509_USER_PROXY names it" in proxy.problem
    assert "BEARER_TOKEN_FILE names it" in named.problem
    assert used.content == b"t"


@pytest.mark.parametrize(("mode", "problem"), [(0o600, ""), (0o640, "others can read it")])
def test_who_else_can_read_a_proxy_is_told(monkeypatch, tmp_path, mode, problem):
    monkeypatch.setenv("X509_USER_PROXY", str(write(tmp_path / "proxy", make_proxy(), mode)))
    (proxy,) = locate()
    assert proxy.problem == problem
    assert proxy.content is not None


def test_an_empty_file_is_no_credential(monkeypatch, tmp_path):
    monkeypatch.setenv("X509_USER_PROXY", str(write(tmp_path / "proxy", b"\n")))
    assert [source.problem for source in locate()] == ["is empty"]
    assert find_credentials() == Credentials({})


def test_a_proxy_ends_with_the_first_of_its_chain():
    # The proxy for 12 h, made from a certificate that ends after 2 h: only these count.
    (life,) = lifetimes(Credentials({"proxy": make_proxy(hours=12, parent_hours=2)}))
    assert life.ends == NOW + timedelta(hours=2)
    (life,) = lifetimes(Credentials({"proxy": make_proxy(hours=1, parent_hours=2)}))
    assert life.ends == NOW + timedelta(hours=1)


def test_a_proxy_ends_with_its_voms_attributes():
    (life,) = lifetimes(Credentials({"proxy": make_proxy(hours=96, parent_hours=1000, attributes_hours=24)}))
    assert life.ends == NOW + timedelta(hours=24)


def test_a_proxy_without_its_key_is_no_good():
    whole = make_proxy()
    start, end = whole.index(b"-----BEGIN RSA"), whole.index(b"-----END RSA PRIVATE KEY-----\n") + 30
    (life,) = lifetimes(Credentials({"proxy": whole[:start] + whole[end:]}))
    assert "no private key" in life.problem
    assert not life.usable


def test_without_cryptography_the_end_of_a_proxy_is_not_known():
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "import importlib.util; real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'cryptography' else real(name, *a)\n"
        "from portico.environment.credentials import *\n"
        "life, = lifetimes(Credentials({'proxy': b'x'})); print(life.ends, life.problem)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "None its expiry is unknown, because the extra 'dask' is not installed\n"


def test_the_end_of_a_token_is_its_exp():
    # By hand: 1700000000 is 2023-11-14 22:13:20 UTC.
    (life,) = lifetimes(Credentials({"token": make_token({"exp": 1700000000})}))
    assert life.ends == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert life.left(1700000000 - 60) == 60


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (b"opaque", "not a JSON web token"),
        (make_token({"sub": "me"}), "names no expiry"),
        (make_token({"exp": "soon"}), "not a valid"),
        (make_token(["exp"]), "not a valid"),
        (make_token({"exp": 1e300}), "not a valid"),
        (b"a.%%%.c", "not a valid"),
    ],
)
def test_tokens_without_an_end(token, problem):
    (life,) = lifetimes(Credentials({"token": token}))
    assert life.ends is None
    assert problem in life.problem
    assert expires_before(Credentials({"token": token}), 1e9) is None


@pytest.mark.parametrize("content", [b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_proxy_is_told(content):
    (life,) = lifetimes(Credentials({"proxy": content}))
    assert life.problem == "is not an X.509 proxy in PEM format"
    assert not life.usable


def test_what_expires_before_the_end_of_the_run_is_told_with_what_to_do():
    credentials = Credentials({"token": make_token({"exp": 1700003600}), "proxy": make_proxy()})
    assert expires_before(credentials, 3599, now=1700000000) is None
    told = expires_before(credentials, 7200, now=1700000000)
    assert told is not None
    assert told.startswith("the token expires in 60 min (2023-11-14 23:13 UTC)")
    assert "BEARER_TOKEN_FILE" in told
    gone = expires_before(credentials, 0, now=(NOW + timedelta(hours=13)).timestamp())
    assert gone is not None
    assert gone.count("has expired") == 2
    assert "voms-proxy-init" in gone


def test_installed_files_are_private_and_the_environment_names_them(monkeypatch, tmp_path):
    monkeypatch.setenv("X509_USER_PROXY", "/of/the/user")
    monkeypatch.setenv("BEARER_TOKEN", "old")
    monkeypatch.setenv("BEARER_TOKEN_FILE", "/of/the/user")
    install({"proxy": b"P", "token": b"T"}, tmp_path)
    for variable, content in (("X509_USER_PROXY", b"P"), ("BEARER_TOKEN_FILE", b"T")):
        path = Path(os.environ[variable])
        assert path.parent == tmp_path
        assert path.read_bytes() == content
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # Else the tools of the field would still see the old one: it is looked at first.
    assert "BEARER_TOKEN" not in os.environ
    assert len(list(tmp_path.iterdir())) == 2
    # What C++ asks for is what Python set.
    seen = subprocess.run(["printenv", "X509_USER_PROXY"], capture_output=True, text=True, check=True).stdout
    assert seen.strip() == str(tmp_path / "proxy.pem")


def test_renewed_ones_replace_the_old_whole_and_what_is_taken_back_is_removed(monkeypatch, tmp_path):
    monkeypatch.setenv("X509_USER_PROXY", "")
    install({"proxy": b"old", "token": b"t"}, tmp_path)
    with (tmp_path / "proxy.pem").open("rb") as reader:
        install({"proxy": b"new"}, tmp_path)
        assert reader.read() == b"old"  # who reads during the renewal reads one or the other
    assert (tmp_path / "proxy.pem").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["proxy.pem"]
    assert "BEARER_TOKEN_FILE" not in os.environ


def test_nothing_of_it_is_shown(monkeypatch, tmp_path):
    token = make_token({"exp": 1700000000})
    credentials = Credentials({"token": token, "proxy": make_proxy()})
    monkeypatch.setenv("BEARER_TOKEN", token.decode())
    shown = f"{credentials} {credentials!r} {locate()} {lifetimes(credentials)} {expires_before(credentials, 1e12)}"
    assert token.decode() not in shown
    assert "PRIVATE" not in shown
    assert token.decode().split(".")[2] not in shown
    assert base64.b64encode(token).decode() not in shown


def test_digests_tell_apart_what_is_different():
    digests = [Credentials(files).digest for files in (
        {"token": b"a"}, {"proxy": b"a"}, {"token": b"b"}, {"token": b"a", "proxy": b"b"},
    )]  # fmt: skip
    assert len(set(digests)) == 4
    assert Credentials({"proxy": b"b", "token": b"a"}).digest == digests[3]


@pytest.mark.parametrize(
    ("code", "files", "options", "store", "needed"),
    [
        ("", "local.root", {}, None, False),
        ("# see https://root.cern/doc", "local.root", {}, "/eos/home", False),
        ("", "root://host//store/a.root", {}, None, True),
        ("", "https://host/a.root", {}, None, True),
        ("", "local.root", {"weights": "davs://host/w.root"}, None, True),
        ("WEIGHTS = 'xroot://host//w.root'", "local.root", {}, None, True),
        ("", "local.root", {}, "root://host//store/me", True),
    ],
)
def test_credentials_travel_only_to_analyses_that_name_remote_places(
    make_analysis, tmp_path, code, files, options, store, needed
):
    local = tmp_path / "local.root"
    local.touch()
    file = str(local) if files == "local.root" else files
    step = f'  - {{name: s, function: "mysteps:s", options: {json.dumps(options)}}}'
    analysis = make_analysis(f"{code}\n", step, f'    a: {{files: ["{file}"]}}')
    assert needs_credentials(analysis, store) is needed


def test_folders_of_the_killed_are_removed_by_the_next_and_those_of_the_living_are_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid)
    code = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from portico.environment.scratch import Scratch\n"
        "made = Scratch(); print(made.path, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        folder = Path(other.stdout.readline().strip())
        install({"token": b"secret"}, folder)
        del os.environ["BEARER_TOKEN_FILE"]
        first = Scratch()
        assert stat.S_IMODE(first.path.stat().st_mode) == 0o700
        assert (folder / "token").exists()
        other.kill()
        other.wait()
        second = Scratch()
        assert not folder.exists()
        assert first.path.exists()
        first.close()
        second.close()
    assert list(tmp_path.iterdir()) == []


class Receiver:
    """Keeps the credentials that an executor is sent."""

    def __init__(self) -> None:
        self.given: list[Credentials] = []

    def send_credentials(self, credentials: Credentials) -> None:
        self.given.append(credentials)


def test_renewed_credentials_are_sent_again_during_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr("portico.workflow.credential_refresh._LOOK_SECONDS", 0.0)
    token = tmp_path / "token"
    for variable in ("BEARER_TOKEN", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(token))
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "none"))
    executor, warnings = Receiver(), list[str]()
    trust = CredentialRefresh(executor, warnings.append, needed=True)  # type: ignore[arg-type]

    def write(seconds: float) -> None:
        payload = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + seconds}).encode()).rstrip(b"=")
        token.write_bytes(b"e30." + payload + b".c2ln")
        token.chmod(0o600)

    write(900)
    trust.refresh(60.0)
    trust.refresh(60.0)
    assert len(executor.given) == 1
    assert warnings == []
    trust.refresh(3600.0)  # the step takes longer than the token is good for
    trust.refresh(3600.0)
    assert len(warnings) == 1
    assert "token expires in 15 min" in warnings[0]
    write(90_000)
    trust.refresh(3600.0)
    assert [given.files["token"] for given in executor.given][-1] == token.read_bytes()
    assert len(executor.given) == 2
    token.unlink()
    trust.refresh(3600.0)
    assert executor.given[-1].files == {}
    unneeded = CredentialRefresh(executor, warnings.append, needed=False)  # type: ignore[arg-type]
    unneeded.refresh()
    assert len(executor.given) == 3
