"""The ports that processes listen on, and whether they open to strangers."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable

import psutil


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
