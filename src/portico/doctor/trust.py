"""Checks of credentials."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from portico.doctor.finding import Finding, error, ok, warning
from portico.environment.credentials import RENEW, Credentials, Lifetime, Source, lifetimes, locate
from portico.executors.base import Executor
from portico.monitor.units import duration

__all__ = ["credentials", "expired", "exposed"]

_SHORT = 3600.0
_REFUSED = "servers refuse it"


def credentials(needed: bool) -> Iterator[Finding]:
    """Look at the user's proxy and token.

    Parameters
    ----------
    needed : bool
        Whether the analysis names remote places.
    """
    sources = locate()
    found = [source for source in sources if source.content is not None]
    for source in sources:
        if source.problem:
            yield _problem(source)
    if not found:
        if needed:
            why = "the analysis reads or writes remote places; those that are not public will refuse"
            fix = f"make one: {RENEW['proxy']}; or {RENEW['token']}"
            yield warning("credentials", "neither a proxy nor a token was found", why, fix)
        else:
            yield ok("credentials", "none, and none is needed")
        return
    lives = lifetimes(Credentials({source.kind: source.content or b"" for source in found}))
    severe = needed and all(map(_unusable, lives))
    for source, life in zip(found, lives, strict=True):
        yield _life(source.where, life, severe)


def exposed(executor: Executor) -> Iterator[Finding]:
    """Say whether credentials would go over a network in the clear."""
    client = getattr(executor, "client", None)
    url = urlsplit(client.scheduler_info(n_workers=0)["address"]) if client is not None else urlsplit("")
    if url.scheme == "tcp" and url.hostname not in {"127.0.0.1", "localhost", "::1"}:
        what = f"they go to the workers of {url.geturl()} over connections that are not encrypted"
        why = "who can read that network can use them until they expire"
        yield warning("credentials", what, why, "use a scheduler with TLS, tls://HOST:PORT, or a site of portico's")


def expired(trusted: Credentials) -> Iterator[Finding]:
    """Say which credentials cannot be used, or not any more: an error if no other is left."""
    bad = {life.kind: _unusable(life) for life in lifetimes(trusted)}
    make = error if all(bad.values()) else warning
    for kind, why in bad.items():
        if why:
            yield make(kind, why, _REFUSED, f"{_renew(kind)}; or remove it where none is needed")


def _life(where: str, life: Lifetime, severe: bool) -> Finding:
    left = life.left()
    if bad := _unusable(life):
        return (error if severe else warning)(life.kind, f"{where}: {bad}", _REFUSED, _renew(life.kind))
    if left is None:
        why = "it may end before the run does, without a warning"
        fix = "pip install 'portico-hep[dask]'" if life.kind == "proxy" else "nothing, or use a token that says it"
        return warning(life.kind, f"{where}: {life.problem}", why, fix)
    if left < _SHORT:
        why = "what runs longer fails, unless it is renewed: a renewed one is sent to the workers"
        return warning(life.kind, f"{where}: expires in {duration(left)}", why, _renew(life.kind))
    return ok(life.kind, f"{where}: good for {duration(left)}, until {_date(life)}")


def _renew(kind: str) -> str:
    return f"renew it: {RENEW[kind]}"


def _unusable(life: Lifetime) -> str:
    left = life.left()
    expired = f"has expired, at {_date(life)}" if left is not None and left <= 0 else ""
    return expired if life.usable else life.problem


def _problem(source: Source) -> Finding:
    if source.content is None:
        fix = f"correct the variable, or make the file: {RENEW[source.kind]}"
        return warning(source.kind, f"{source.where}: {source.problem}", "it is passed over", fix)
    why = "who can read it can act in your name; XRootD's client refuses such files"
    return warning(source.kind, f"{source.where}: {source.problem}", why, f"chmod 600 {source.where}")


def _date(life: Lifetime) -> str:
    return f"{life.ends:%Y-%m-%d %H:%M} UTC" if life.ends is not None else ""
