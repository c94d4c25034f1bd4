"""The ports that processes listen on, and whether they open to strangers."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable

import psutil

from portico.executors.where import connect


def opened_by(mode: str, workers: int) -> list[tuple[str, int]]:
    """Return what processes of this test listen on while an executor works that did not before."""
    me = psutil.Process()
    before = set(listening([me, *me.children(recursive=True)]))
    executor = connect(mode, workers)
    try:
        answer, _ = executor.call({"op": "nothing"}, [])
        assert "nothing" in answer["message"]
        deadline = time.monotonic() + 60
        while executor.workers < workers:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        found = set(listening([me, *me.children(recursive=True)])) - before
        for where in found:
            assert needs_certificate(where), where
        return sorted(found)
    finally:
        executor.close()


def listening(processes: Iterable[psutil.Process]) -> list[tuple[str, int]]:
    """Return address and port of everything that these processes listen on over a network."""
    found = set()
    for process in processes:
        try:
            connections = process.net_connections("inet")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        found |= {(one.laddr.ip, one.laddr.port) for one in connections if not one.raddr}
    return sorted(found)


def needs_certificate(where: tuple[str, int]) -> bool:
    """Whether a port speaks TLS and refuses who has no certificate; HTTP and plain Dask do neither."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(where, 60) as raw, context.wrap_socket(raw) as tls:
            tls.recv(1)
    except ssl.SSLError as error:
        return "CERTIFICATE_REQUIRED" in str(error.reason)
    except OSError:
        return False
    return False
