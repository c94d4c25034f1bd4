"""TLS keys that encrypt the connections of a cluster: made for one run, and given to its workers as files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distributed import Security

__all__ = ["NAMES", "Keys", "WorkerSecurity", "client_security"]

NAMES = ("ca_file.pem", "cert.pem", "key.pem")
"""Names of the files."""

_TLS: Any = Security  # which has no types


class WorkerSecurity(_TLS):  # type: ignore[misc]
    """Dask's TLS settings: in memory for scheduler and client, as files for workers.

    Parameters
    ----------
    paths : mapping of str to str
        From ``ca_file``, ``cert`` and ``key`` to the paths of the files on the worker.
    source : Security, optional
        Settings of scheduler and client.
    """

    def __init__(self, paths: Mapping[str, str], source: Any = None) -> None:
        own = source or _TLS()
        names = ("tls_ca_file", "tls_client_key", "tls_client_cert", "tls_scheduler_key", "tls_scheduler_cert")
        super().__init__(require_encryption=True, **{name: getattr(own, name) for name in names})
        self._paths = dict(paths)

    def get_tls_config_for_role(self, role: str) -> dict[str, Any]:
        """Return the settings of the client, the scheduler or a worker."""
        if role == "worker":
            return {**self._paths, "ciphers": None}
        settings: dict[str, Any] = super().get_tls_config_for_role(role)
        return settings


def client_security(paths: Mapping[str, str]) -> Any:
    """Return Dask's TLS settings of a client that finds the keys in files.

    Parameters
    ----------
    paths : mapping of str to str
        From ``ca_file``, ``cert`` and ``key`` to the paths of the files.
    """
    ca, cert, key = (paths[name.removesuffix(".pem")] for name in NAMES)
    return _TLS(require_encryption=True, tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key)


class Keys:
    """Keys of one cluster, in their own folder that only the user can read.

    Parameters
    ----------
    folder : Path
        Parent of that folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="keys-", dir=folder)
        self._source: Any = _TLS.temporary()
        self.files = [Path(self._folder.name) / name for name in NAMES]
        settings = self._source.get_tls_config_for_role("worker")
        for path in self.files:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(settings[path.stem])

    def security(self, *, transferred: bool = False) -> WorkerSecurity:
        """Return Dask's settings; ``transferred`` if the batch system copies the files beside the job."""
        return WorkerSecurity({path.stem: path.name if transferred else str(path) for path in self.files}, self._source)

    def remove(self) -> None:
        """Remove the files."""
        self._folder.cleanup()
