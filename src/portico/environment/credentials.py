"""Credentials: X.509 proxies and bearer tokens, found where the field's tools put them, installed on workers.

Their bytes go from the user's file to files of the same permissions on the workers, and nowhere else.
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
    "token": "htgettoken or oidc-token, and put it where BEARER_TOKEN_FILE says",
}
"""What makes each kind anew."""

_REMOTE = re.compile(r"\b(?:x?roots?|davs?|gsiftp|s3)://|https?://\S+\.root\b")
_VARIABLES = {"proxy": "X509_USER_PROXY", "token": "BEARER_TOKEN_FILE"}
_NAMES = {"proxy": "proxy.pem", "token": "token"}
# RFC 5755, 4.1: attrCertValidityPeriod, two GeneralizedTimes. VOMS puts the attribute certificate into an extension of
# the proxy, and its life is often shorter than the proxy's.
_ATTRIBUTES = re.compile(rb"\x30\x22\x18\x0f\d{14}Z\x18\x0f(\d{14})Z")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a worker needs to read and write on behalf of the user. Its ``repr`` shows nothing of it.

    Parameters
    ----------
    files : mapping of str to bytes
        ``proxy``: an X.509 proxy in PEM; ``token``: a bearer token.
    """

    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str:
        """A digest of the content; empty if there is none."""
        if not self.files:
            return ""
        parts = [part for name, content in sorted(self.files.items()) for part in (name.encode(), content)]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


@dataclass(frozen=True, slots=True)
class Source:
    """Where a credential was looked for, and what is there.

    Parameters
    ----------
    kind : {"proxy", "token"}
        What it is.
    where : str
        Path, or the name of a variable.
    content : bytes, optional
        The credential; none if it could not be read.
    problem : str
        Why it could not be read, or who else can read it; empty if all is well.
    """

    kind: str
    where: str
    content: bytes | None = field(default=None, repr=False)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a credential can be used.

    Parameters
    ----------
    kind : {"proxy", "token"}
        What it is.
    ends : datetime, optional
        In UTC; for a proxy the first end in its chain, that of its VOMS attributes included. None if not known.
    problem : str
        Why the end is not known, or why the credential cannot be used.
    usable : bool
        False if no server can accept it, whatever the time.
    """

    kind: str
    ends: datetime | None = None
    problem: str = ""
    usable: bool = True

    def left(self, now: float | None = None) -> float | None:
        """Return the seconds that are left, negative if it has expired; None if that is not known."""
        return None if self.ends is None else self.ends.timestamp() - (time.time() if now is None else now)


def locate() -> tuple[Source, ...]:
    """Look for a proxy and a token where the field's tools look for them.

    The proxy: ``$X509_USER_PROXY``, else ``/tmp/x509up_uUID``. The token by WLCG Bearer Token Discovery 1.0
    (doi:10.5281/zenodo.3937438): ``$BEARER_TOKEN``, the file ``$BEARER_TOKEN_FILE``, ``$XDG_RUNTIME_DIR/bt_uUID``,
    ``/tmp/bt_uUID``. What is not there is passed over, unless a variable names it.

    Returns
    -------
    tuple of Source
        At most one of each kind with content, and what is wrong with others.
    """
    user, found = os.getuid(), []
    named = os.environ.get("X509_USER_PROXY")
    found.append(_read("proxy", Path(named or f"/tmp/x509up_u{user}"), required=bool(named)))  # noqa: S108
    if text := os.environ.get("BEARER_TOKEN", "").strip():
        return tuple(s for s in (*found, Source("token", "$BEARER_TOKEN", text.encode())) if s is not None)
    places = [(os.environ.get("BEARER_TOKEN_FILE"), True), (f"/tmp/bt_u{user}", False)]  # noqa: S108
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        places.insert(1, (f"{runtime}/bt_u{user}", False))
    for place, required in places:
        token = _read("token", Path(place), required) if place else None
        found.append(token)
        if token is not None and token.content is not None:
            break
    return tuple(source for source in found if source is not None)


def _read(kind: str, path: Path, required: bool) -> Source | None:
    try:
        content, mode = path.read_bytes(), path.stat().st_mode
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


def find_credentials() -> Credentials:
    """Return the user's proxy and token as they are now; empty if there is neither. See `locate`."""
    return Credentials({source.kind: source.content for source in locate() if source.content is not None})


def needs_credentials(analysis: Analysis, store: str | None = None) -> bool:
    """Return whether anything in an analysis names a remote place: only then credentials leave this machine.

    Looked at are the files of the samples, the options of the steps, the analysis' own modules, and ``store``, where
    trees are written.
    """
    samples = analysis.dataset.samples.values()
    named = [store or "", *(place for sample in samples for file in sample.files for place in sample.places(file))]
    named += [json.dumps(step.options, default=str) for step in analysis.steps]
    return any(map(_REMOTE.search, named)) or any(map(_REMOTE.search, _modules(analysis)))


def _modules(analysis: Analysis) -> Iterator[str]:
    for path in sorted(analysis.folder.glob("*.py")):
        with suppress(OSError):
            yield path.read_text(encoding="utf-8", errors="replace")


def lifetimes(credentials: Credentials) -> tuple[Lifetime, ...]:
    """Return how long each credential can be used. Nothing is verified: that is for the servers."""
    known = {"proxy": _life_of_proxy, "token": _life_of_token}
    return tuple(known[kind](content) for kind, content in credentials.files.items())


def expires_before(credentials: Credentials, seconds: float, now: float | None = None) -> str | None:
    """Say which credentials will have expired in ``seconds`` from now and what to do; None if none will."""
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
        return Lifetime("proxy", problem="how long it is good for cannot be told without the extra 'dask'")
    from cryptography import x509

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the field's authorities sign is not always to the letter
            chain = x509.load_pem_x509_certificates(content)
            ends = [certificate.not_valid_after_utc for certificate in chain]
            ends += [end for certificate in chain for end in _attributes(certificate)]
    except ValueError:
        return Lifetime("proxy", problem="is no X.509 proxy in PEM", usable=False)
    if b"PRIVATE KEY-----" not in content:
        return Lifetime("proxy", min(ends), "holds no private key", usable=False)
    return Lifetime("proxy", min(ends))


def _attributes(certificate: Any) -> list[datetime]:
    """Return the ends of the VOMS attributes in a certificate."""
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
        return Lifetime("token", problem="is no JSON web token, so it does not say how long it is good for")
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
        end = payload.get("exp")
        return Lifetime("token", None if end is None else datetime.fromtimestamp(float(end), UTC),
                        "does not say how long it is good for" if end is None else "")  # fmt: skip
    except (ValueError, TypeError, AttributeError, OverflowError, OSError):
        return Lifetime("token", problem="is no valid JSON web token, so it does not say how long it is good for")


def install(files: Mapping[str, bytes], folder: Path) -> None:
    """Write credentials into a folder, readable to the user alone, and point this process' environment at them.

    What was installed before is replaced, or removed if it is no longer among the files. XRootD's client reads the
    file anew for each new connection.
    """
    for kind, variable in _VARIABLES.items():
        path = folder / _NAMES[kind]
        if kind in files:
            _write_private(path, files[kind])
            os.environ[variable] = str(path)
            if kind == "token":
                os.environ.pop("BEARER_TOKEN", None)  # it would go before the file
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
