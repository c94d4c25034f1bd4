"""The decision to send credentials to the workers of an executor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from portico.executors.base import Executor

__all__ = ["SEND", "may_send", "open_connection"]

SEND = "PORTICO_SEND_UNENCRYPTED"
"""The variable that asks for credentials to be sent over unencrypted networks too."""


def may_send(executor: Executor) -> bool:
    """Return whether credentials are sent to the workers: over encrypted connections, on this machine, or if asked for.

    ``PORTICO_SEND_UNENCRYPTED=1`` asks for it.
    """
    return not open_connection(executor) or os.environ.get(SEND, "") not in {"", "0"}


def open_connection(executor: Executor) -> str:
    """Return the address of a scheduler on an unencrypted network; empty for others."""
    address, client = getattr(executor, "address", ""), getattr(executor, "client", None)
    if not address and client is not None:
        address = str(client.scheduler_info(n_workers=0)["address"])
    url = urlsplit(address)
    return address if url.scheme == "tcp" and url.hostname not in {"127.0.0.1", "localhost", "::1"} else ""
