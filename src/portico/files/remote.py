"""Files on servers: which errors are transient, retries, and the client's time limits."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from portico.errors import InputError

__all__ = ["PATIENCE", "is_remote", "may_pass", "no_connection", "retried", "server_of", "tune_xrootd"]

PATIENCE = 30.0
"""Seconds during which transient errors are retried. An attempt may itself take longer."""

T = TypeVar("T")

_REMOTE = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)  # RFC 3986, 3.1
# The client's own words (XrdClStatus.cc of XRootD 5), those of the network, and the numbers of a server's answers
# (XProtocol.hh): file locked or not open, I/O error, no memory, server error, no server, cancelled, in progress,
# overloaded, timed out. Not those for what is missing, forbidden, full or read-only.
_PASSING = re.compile(
    r"Operation (?:expired|interrupted)|Connection (?:error|refused|reset|timed out)"
    r"|Socket (?:error|timeout|disconnected)|Stream disconnect|Poller error|Hand shake failed"
    r"|Redirect limit has been reached|No more (?:replicas|free SIDs)|No servers are available"
    r"|Invalid address|TLS error|Network is unreachable|No route to host|Temporary failure in name resolution"
    r"|\[(?:3003|3004|3007|3008|3012|3014|3017|3020|3024|3034|3035)\]",
    re.IGNORECASE,
)
_UNCONNECTED = re.compile(
    r"Connection (?:error|refused)|Socket (?:error|timeout)|Invalid address|No route to host", re.IGNORECASE
)
# A server that refuses connections is known to be dead after three windows, 45 s; one that is away for 20 s is waited
# for. One that accepts and stays silent is known after some 80 s. After an error the client refuses the server for the
# error window, by default half an hour: too long for a process that tries again.
_XROOTD = {
    "ConnectionWindow": 15,
    "ConnectionRetry": 4,
    "StreamTimeout": 30,
    "StreamErrorWindow": 5,
    "TimeoutResolution": 5,
    "RequestTimeout": 300,
}


def is_remote(location: str) -> bool:
    """Return whether a location is a URL and not a path."""
    return _REMOTE.match(location) is not None


def may_pass(text: str) -> bool:
    """Return whether an error with this text is transient, and worth a retry."""
    return _PASSING.search(text) is not None


def no_connection(text: str) -> bool:
    """Return whether an error with this text says that the server could not be connected to, which took a minute."""
    return _UNCONNECTED.search(text) is not None


def server_of(location: str) -> str:
    """Return the server of a URL with its port; empty for a path."""
    return urlsplit(location).netloc if is_remote(location) else ""


def retried(attempt: Callable[[], T], patience: float = PATIENCE) -> T:
    """Return what ``attempt`` returns; try again after 1, 2, 4, ... s while the error is transient.

    Parameters
    ----------
    attempt : callable
        Raises InputError with the server's words in it.
    patience : float
        No attempt begins later than so many seconds after the first.

    Raises
    ------
    InputError
        That of the last attempt.
    """
    began, wait = time.monotonic(), 1.0
    while True:
        try:
            return attempt()
        except InputError as error:
            if not may_pass(str(error)) or time.monotonic() - began + wait > patience:
                raise
        time.sleep(wait)
        wait *= 2


def tune_xrootd() -> None:
    """Limit how long XRootD's clients in this process wait for a server, unless the user's ``XRD_...`` say how long.

    Best before ROOT or XRootD are imported: ROOT's client reads the environment once.
    """
    for name, seconds in _XROOTD.items():
        variable = f"XRD_{name.upper()}"
        if variable in os.environ:
            continue
        os.environ[variable] = str(seconds)
        if "XRootD.client" in sys.modules:
            sys.modules["XRootD.client"].EnvPutInt(name, seconds)
