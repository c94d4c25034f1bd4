"""Credentials: X.509 proxies and bearer tokens, found in the standard locations and installed on workers.

Their bytes are copied from the user's file to private files on the workers, and nowhere else.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import re
import stat
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from portico.analysis.analysis import Analysis

__all__ = [
    "Credentials", "Lifetime", "Source", "expires_before", "find_credentials", "forget", "install", "lifetimes",
    "locate", "needs_credentials",
]  # fmt: skip

RENEW = {
    "proxy": "voms-proxy-init --voms YOUR_VO --valid 24:00",
    "token": "htgettoken or oidc-token, and write it to the file that BEARER_TOKEN_FILE names",
}
"""The command that renews each kind."""

_REMOTE = re.compile(r"\b(?:x?roots?|davs?|gsiftp|s3)://|https?://\S+\.root\b")
_VARIABLES = {"proxy": "X509_USER_PROXY", "token": "BEARER_TOKEN_FILE"}
_LARGEST = 1_000_000  # bytes; a proxy has some ten thousand
_NAMES = {"proxy": "proxy.pem", "token": "token"}
# RFC 5755, 4.1: attrCertValidityPeriod, two GeneralizedTimes. VOMS puts the attribute certificate into an extension of
# the proxy, and it often expires before the proxy.
_ATTRIBUTES = re.compile(rb"\x30\x22\x18\x0f\d{14}Z\x18\x0f(\d{14})Z")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The user's proxy and token, with which workers read and write. Their ``repr`` shows no content.

    Parameters
    ----------
    files : mapping of str to bytes
        ``proxy``: an X.509 proxy in PEM; ``token``: a bearer token.
    """

    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str:
        """A digest of the content; empty without content."""
        if not self.files:
            return ""
        parts = [part for name, content in sorted(self.files.items()) for part in (name.encode(), content)]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


@dataclass(frozen=True, slots=True)
class Source:
    """A location that was searched for a credential, and its content.

    Parameters
    ----------
    kind : {"proxy", "token"}
        Kind of credential.
    where : str
        Path, or the name of a variable.
    content : bytes, optional
        The credential; None if it could not be read.
    problem : str
        Why it could not be read, or that others can read it; empty if there is no problem.
    """

    kind: str
    where: str
    content: bytes | None = field(default=None, repr=False)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The expiry of a credential.

    Parameters
    ----------
    kind : {"proxy", "token"}
        Kind of credential.
    ends : datetime, optional
        In UTC; for a proxy the earliest expiry in its chain, including its VOMS attributes. None if unknown.
    problem : str
        Why the expiry is unknown, or why the credential cannot be used.
    usable : bool
        False if no server can accept it, regardless of the time.
    """

    kind: str
    ends: datetime | None = None
    problem: str = ""
    usable: bool = True

    def left(self, now: float | None = None) -> float | None:
        """Return the seconds until it expires, negative if it has expired; None if unknown."""
        return None if self.ends is None else self.ends.timestamp() - (time.time() if now is None else now)


def locate() -> tuple[Source, ...]:
    """Look for a proxy and a token in the standard locations.

    The proxy: ``$X509_USER_PROXY``, else ``/tmp/x509up_uUID``. The token by WLCG Bearer Token Discovery 1.0
    (doi:10.5281/zenodo.3937438): ``$BEARER_TOKEN``, the file ``$BEARER_TOKEN_FILE``, ``$XDG_RUNTIME_DIR/bt_uUID``,
    ``/tmp/bt_uUID``. A file that does not exist is skipped, unless a variable names it.

    Returns
    -------
    tuple of Source
        At most one of each kind with content, and the problems of others.
    """
    user, found = os.getuid(), []
    named = os.environ.get("X509_USER_PROXY")
    found.append(_read("proxy", Path(named or f"/tmp/x509up_u{user}"), required=bool(named)))  # noqa: S108
    if text := os.environ.get("BEARER_TOKEN", "").strip():
        return tuple(s for s in (*found, Source("token", "$BEARER_TOKEN", text.encode())) if s is not None)
    candidates = [(os.environ.get("BEARER_TOKEN_FILE"), True), (f"/tmp/bt_u{user}", False)]  # noqa: S108
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        candidates.insert(1, (f"{runtime}/bt_u{user}", False))
    for path, required in candidates:
        token = _read("token", Path(path), required) if path else None
        found.append(token)
        if token is not None and token.content is not None:
            break
    return tuple(source for source in found if source is not None)


def _read(kind: str, path: Path, required: bool) -> Source | None:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            found = os.fstat(stream.fileno())
            if refused := _refused(found):
                return Source(kind, str(path), problem=refused)
            content, mode = stream.read(_LARGEST), found.st_mode
    except FileNotFoundError:
        variable = _VARIABLES[kind]
        return Source(kind, str(path), problem=f"no such file, though {variable} names it") if required else None
    except OSError as error:
        return Source(kind, str(path), problem=f"cannot be read: {error.strerror}")
    content = content.strip() + b"\n" if kind == "proxy" else content.strip()
    if not content.strip():
        return Source(kind, str(path), problem="is empty")
    others = "others can read it" if mode & (stat.S_IRWXG | stat.S_IRWXO) else ""
    return Source(kind, str(path), content, others)


def _refused(found: os.stat_result) -> str:
    """Return why a file is not taken for a credential: a device or pipe may never end, a stranger's file is a trap."""
    if not stat.S_ISREG(found.st_mode):
        return "cannot be read: it is not a regular file"
    if found.st_uid not in {os.getuid(), 0}:
        return f"belongs to another user (number {found.st_uid})"
    return f"has more than {_LARGEST:,} bytes" if found.st_size > _LARGEST else ""


def find_credentials() -> Credentials:
    """Return the user's current proxy and token; empty if there is neither. See `locate`."""
    return Credentials({source.kind: source.content for source in locate() if source.content is not None})


def needs_credentials(analysis: Analysis, store: str | None = None) -> bool:
    """Return whether an analysis names a remote URL: only then do credentials leave this machine.

    This searches the files of the samples, the options of the steps, the analysis' own modules, and ``store``, to
    which trees are written.
    """
    samples = analysis.dataset.samples.values()
    named = [store or "", *(url for sample in samples for file in sample.files for url in sample.replicas_of(file))]
    named += [json.dumps(step.options, default=str) for step in analysis.steps]
    return any(map(_REMOTE.search, named)) or any(map(_REMOTE.search, _modules(analysis)))


def _modules(analysis: Analysis) -> Iterator[str]:
    for path in sorted(analysis.folder.glob("*.py")):
        with suppress(OSError):
            yield path.read_text(encoding="utf-8", errors="replace")


def lifetimes(credentials: Credentials) -> tuple[Lifetime, ...]:
    """Return the expiry of each credential. Signatures are not verified: that is up to the servers."""
    known = {"proxy": _life_of_proxy, "token": _life_of_token}
    return tuple(known[kind](content) for kind, content in credentials.files.items())


def expires_before(credentials: Credentials, seconds: float, now: float | None = None) -> str | None:
    """Describe the credentials that expire within ``seconds`` and how to renew them; None if none does."""
    lines = []
    for life in lifetimes(credentials):
        left = life.left(now)
        if left is None or left > seconds:
            continue
        when = "has expired" if left <= 0 else f"expires in {left / 60:.0f} min"
        lines.append(f"the {life.kind} {when} ({life.ends:%Y-%m-%d %H:%M} UTC); renew it with: {RENEW[life.kind]}")
    return "; ".join(lines) or None


def _life_of_proxy(content: bytes) -> Lifetime:
    if importlib.util.find_spec("cryptography") is None:
        return Lifetime("proxy", problem="its expiry is unknown, because the extra 'dask' is not installed")
    from cryptography import x509

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # certificates of grid authorities do not always follow the standard
            chain = x509.load_pem_x509_certificates(content)
            ends = [certificate.not_valid_after_utc for certificate in chain]
            ends += [end for certificate in chain for end in _attributes(certificate)]
    except ValueError:
        return Lifetime("proxy", problem="is not an X.509 proxy in PEM format", usable=False)
    if b"PRIVATE KEY-----" not in content:
        return Lifetime("proxy", min(ends), "contains no private key", usable=False)
    return Lifetime("proxy", min(ends))


def _attributes(certificate: Any) -> list[datetime]:
    """Return the expiries of the VOMS attributes in a certificate."""
    found = []
    for extension in certificate.extensions:
        content = getattr(extension.value, "value", b"")
        if isinstance(content, bytes):
            found += [datetime.strptime(t.decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
                      for t in _ATTRIBUTES.findall(content)]  # fmt: skip
    return found


def _life_of_token(content: bytes) -> Lifetime:
    parts = content.strip().split(b".")
    if len(parts) != 3:
        return Lifetime("token", problem="is not a JSON web token, so its expiry is unknown")
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
        end = payload.get("exp")
        return Lifetime("token", None if end is None else datetime.fromtimestamp(float(end), UTC),
                        "names no expiry" if end is None else "")  # fmt: skip
    except (ValueError, TypeError, AttributeError, OverflowError, OSError):
        return Lifetime("token", problem="is not a valid JSON web token, so its expiry is unknown")


def install(files: Mapping[str, bytes], folder: Path) -> None:
    """Write credentials into a folder, readable only by the user, and set this process' environment variables.

    Previously installed credentials are replaced, or removed if ``files`` no longer has them. XRootD's client reads
    the file again for each new connection.
    """
    for kind, variable in _VARIABLES.items():
        path = folder / _NAMES[kind]
        if kind in files:
            _write_private(path, files[kind])
            os.environ[variable] = str(path)
            if kind == "token":
                os.environ.pop("BEARER_TOKEN", None)  # it would take precedence over the file
        elif os.environ.get(variable) == str(path):
            path.unlink(missing_ok=True)
            del os.environ[variable]


def forget(folder: Path) -> None:
    """Remove the credentials that were installed in a folder."""
    for name in _NAMES.values():
        (folder / name).unlink(missing_ok=True)


def _write_private(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.part")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
    aside.replace(path)
