"""Checks of credentials: their expiry, their permissions and the connections that they are sent over."""

from __future__ import annotations

from collections.abc import Iterator

from portico.doctor.finding import Finding, error, ok, warning
from portico.environment.credentials import RENEW, Credentials, Lifetime, Source, lifetimes, locate
from portico.executors.base import Executor
from portico.executors.trust import SEND, may_send, open_connection
from portico.monitor.units import duration

__all__ = ["check", "expired", "unencrypted"]

_SHORT = 3600.0
_REFUSED = "servers refuse it"


def check(needed: bool) -> Iterator[Finding]:
    """Check the user's proxy and token.

    Parameters
    ----------
    needed : bool
        Whether the analysis names remote URLs.
    """
    sources = locate()
    found = [source for source in sources if source.content is not None]
    for source in sources:
        if source.problem:
            yield _problem(source)
    if not found:
        if needed:
            why = "the analysis names remote URLs, and servers that are not public will refuse access"
            fix = f"create one: {RENEW['proxy']}; or {RENEW['token']}"
            yield warning("credentials", "neither a proxy nor a token was found", why, fix)
        else:
            yield ok("credentials", "none, and none is needed")
        return
    lives = lifetimes(Credentials({source.kind: source.content or b"" for source in found}))
    severe = needed and all(map(_unusable, lives))
    for source, life in zip(found, lives, strict=True):
        yield _life(source.where, life, severe)


def unencrypted(executor: Executor) -> Iterator[Finding]:
    """Check whether credentials would cross a network without encryption; then they are sent only if that is asked for.

    See `portico.executors.trust.may_send`.
    """
    if not (address := open_connection(executor)):
        return
    how, fix = f"the workers of {address} over unencrypted connections", "use a scheduler with TLS, tls://HOST:PORT"
    if may_send(executor):
        why = "anyone who can read that network can use them until they expire"
        yield warning("credentials", f"they are sent to {how}, since {SEND} is set", why, f"{fix}, or unset it")
    else:
        why = "remote files that are not public cannot be read there"
        yield warning("credentials", f"they are not sent to {how}", why, f"{fix}; or set {SEND}=1 to send them anyway")


def expired(credentials: Credentials) -> Iterator[Finding]:
    """Report credentials that cannot be used or have expired: an error if no other is left."""
    bad = {life.kind: _unusable(life) for life in lifetimes(credentials)}
    make = error if all(bad.values()) else warning
    for kind, why in bad.items():
        if why:
            yield make(kind, why, _REFUSED, f"{_renew(kind)}; or remove it if none is needed")


def _life(where: str, life: Lifetime, severe: bool) -> Finding:
    left = life.left()
    if bad := _unusable(life):
        return (error if severe else warning)(life.kind, f"{where}: {bad}", _REFUSED, _renew(life.kind))
    if left is None:
        why = "it may expire during the run, without a warning"
        fix = "pip install 'portico-hep[dask]'" if life.kind == "proxy" else "nothing, or use a token with an expiry"
        return warning(life.kind, f"{where}: {life.problem}", why, fix)
    if left < _SHORT:
        why = (
            "a longer run fails unless you renew it in time; renewed credentials are sent to the workers automatically"
        )
        return warning(life.kind, f"{where}: expires in {duration(left)}", why, _renew(life.kind))
    return ok(life.kind, f"{where}: valid for {duration(left)}, until {_date(life)}")


def _renew(kind: str) -> str:
    return f"renew it: {RENEW[kind]}"


def _unusable(life: Lifetime) -> str:
    left = life.left()
    expired = f"expired at {_date(life)}" if left is not None and left <= 0 else ""
    return expired if life.usable else life.problem


def _problem(source: Source) -> Finding:
    if source.content is None:
        fix = f"correct the variable, or create the file: {RENEW[source.kind]}"
        return warning(source.kind, f"{source.where}: {source.problem}", "it is ignored", fix)
    why = "anyone who can read it can act in your name; XRootD's client refuses such files"
    return warning(source.kind, f"{source.where}: {source.problem}", why, f"chmod 600 {source.where}")


def _date(life: Lifetime) -> str:
    return f"{life.ends:%Y-%m-%d %H:%M} UTC" if life.ends is not None else ""
