"""Functions that run in a Dask worker for ROOT's distributed RDataFrame; ROOT is loaded in the Dask worker itself."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import resource
import shutil
import sys
import time
import uuid
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from distributed import Worker
from distributed.diagnostics.plugin import WorkerPlugin

from portico import root
from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials, install
from portico.errors import InputError, SpaceError, WorkerError
from portico.files import tune_xrootd
from portico.worker.classify import check_log
from portico.worker.loading import leave_unsafe_folder

__all__ = ["HoldPlugin", "Piece", "Tally", "Ticket", "TrustPlugin", "check_files", "forget", "join", "run_piece",
           "where_of"]  # fmt: skip

_RECORDER = Path(root.__file__).parent / "include" / "recorder.h"
_held: dict[str, tuple[Path, Bundle]] = {}


class HoldPlugin(WorkerPlugin):
    """Unpacks a bundle on the worker when it joins; its headers are declared by the first task that needs them.

    Parameters
    ----------
    bundle : Bundle
        The step's code and files.
    """

    idempotent = True

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def setup(self, worker: Worker) -> None:
        """Unpack the bundle into the worker's own folder."""
        os.environ.setdefault("EXTRA_CLING_ARGS", "-O2")  # takes effect only before ROOT is imported
        tune_xrootd()
        target = Path(worker.local_directory) / "portico" / self._bundle.digest
        if not target.exists():
            aside = target.with_suffix(".part")
            shutil.rmtree(aside, ignore_errors=True)
            with zipfile.ZipFile(io.BytesIO(self._bundle.archive)) as archive:
                archive.extractall(aside)
            aside.rename(target)
        _held[self._bundle.digest] = target, self._bundle


class TrustPlugin(WorkerPlugin):
    """Installs credentials on the worker when it joins, and again when they are renewed.

    Parameters
    ----------
    credentials : Credentials
        Credentials of ROOT in this worker from now on.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def setup(self, worker: Worker) -> None:
        """Write the credentials into the worker's own folder."""
        install(self._credentials.files, Path(worker.local_directory))


@dataclass(frozen=True, slots=True)
class Ticket:
    """Properties of the process that built the graph, for a task.

    Parameters
    ----------
    digest : str
        Digest of the bundle.
    origin : str
        Folder of the bundle in that process; expressions may name files in it.
    folder : str
        Folder of the trees' temporary files.
    """

    digest: str
    origin: str
    folder: str


@dataclass(slots=True)
class Tally:
    """Costs and files of the parts of a sample.

    Parameters
    ----------
    wall, cpu : float
        Seconds of all workers together.
    bytes_read : int
        Bytes read, as counted by the kernel.
    memory : int
        Largest resident size of a worker, in bytes.
    files : dict
        Properties of each written file, by its path, in the order of the parts.
    """

    wall: float = 0.0
    cpu: float = 0.0
    bytes_read: int = 0
    memory: int = 0
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.wall + other.wall, self.cpu + other.cpu, self.bytes_read + other.bytes_read,
            max(self.memory, other.memory), self.files | other.files,
        )  # fmt: skip


Piece = tuple[Any, Tally]
"""ROOT's result of a part of a sample (its ``TaskResult``), or of several merged, and what it cost."""


def check_files(files: Sequence[tuple[str, str]], ticket: Ticket) -> None:
    """Open files and compare their identities with the planned ones.

    Raises
    ------
    InputError
        If a file cannot be opened or was replaced; the message names it.
    """
    _ready(ticket)
    import ROOT

    for name, identity in files:
        try:
            file = ROOT.TFile.Open(name)
        except OSError as error:
            raise InputError(f"{name}: cannot be opened: {error}") from None
        if not file or file.IsZombie() or file.TestBit(ROOT.TFile.kRecovered):
            raise InputError(f"{name}: cannot be opened, it may be truncated or damaged")
        found = str(ROOT.portico.FileIdentity(file))
        file.Close()
        if identity and found != identity:
            raise InputError(
                f"{name}: was replaced after the run was planned (identity {found} instead of {identity}); run again"
            )


def run_piece(payload: bytes, ticket: Ticket) -> Piece:
    """Run the graph over one part of a sample.

    Parameters
    ----------
    payload : bytes
        ROOT's function of a range and that range, pickled: ROOT must be loaded before they are unpacked.
    ticket : Ticket
        The bundle that they need.

    Raises
    ------
    InputError, SpaceError
        If ROOT reported an error of reading or writing.
    RuntimeError
        If the event loop failed, with its message.
    """
    _ready(ticket)
    import ROOT

    wall, cpu, before = time.perf_counter(), time.process_time(), _bytes_read()
    ROOT.portico.TakeRecorded()
    mapper, piece = pickle.loads(payload)  # noqa: S301 (from our own process, over Dask, which pickles anyway)
    _settle(mapper, ticket)
    try:
        result = mapper(piece)
        check_log(str(ROOT.portico.TakeRecorded()), ticket.folder)
    except InputError as error:
        raise InputError(f"{error}; in {where_of(piece)}") from None
    except SpaceError:
        raise
    except Exception as error:
        raise RuntimeError(f"{_words(error)}\n{ROOT.portico.TakeRecorded()}".strip()) from None
    files = _written(result)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    spent = time.perf_counter() - wall, time.process_time() - cpu
    return result, Tally(*spent, _bytes_read() - before, memory, files)


def where_of(piece: Any) -> str:
    """Describe which part of a sample a range of ROOT is."""
    files = getattr(piece, "filenames", None) or ["generated events"]
    where = str(files[0]) if len(files) == 1 else f"one of {len(files)} files from {files[0]} to {files[-1]}"
    return f"part {piece.id}: {where}"


def join(first: Piece, second: Piece) -> Piece:
    """Merge the results of neighbours as ROOT does; ``first`` has the earlier entries."""
    from ROOT._distrdf.Backends.Base import distrdf_reducer

    return distrdf_reducer(first[0], second[0]), first[1] + second[1]


def forget(execution: Any) -> None:
    """Drop a graph from this process, if ROOT is loaded."""
    if register := sys.modules.get("ROOT._distrdf._graph_cache"):
        register._ACTIONS_REGISTER.pop(execution, None)
        register._RDF_REGISTER.pop(execution, None)


def _ready(ticket: Ticket) -> None:
    """Load ROOT with the settings of portico's processes, and the bundle's headers.

    Raises
    ------
    StaleProcess
        If the worker has another version of a header.
    WorkerError
        If the bundle has not arrived on this worker.
    """
    if ticket.digest not in _held:
        raise WorkerError("the analysis did not arrive on this Dask worker; check that its portico is the same")
    target, bundle = _held[ticket.digest]
    leave_unsafe_folder()
    loaded = root.load()
    root.declare(_RECORDER, "portico/recorder.h", hashlib.sha256(_RECORDER.read_bytes()).hexdigest())
    loaded.portico.StartRecording()
    if bundle.library:
        root.load_library(target / bundle.library)
    for file, digest in bundle.declared.items():
        root.declare(target / file, file, digest)


def _settle(mapper: Any, ticket: Ticket) -> None:
    """Point the graph's expressions to this worker's files, and its Snapshots to files of this process only."""
    target = str(_held[ticket.digest][0])
    own = uuid.uuid4().hex[:8]

    def here(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(here(one) for one in value)
        return value.replace(ticket.origin, target) if isinstance(value, str) else value

    for node in _graph(mapper).values():
        operation = node.operation
        if operation is None:
            continue
        operation.args = [here(argument) for argument in operation.args]
        operation.kwargs = {key: here(value) for key, value in operation.kwargs.items()}
        if operation.name == "Snapshot":
            operation.args[1] += own  # a worker that is considered lost may still write


def _graph(mapper: partial[Any]) -> dict[int, Any]:
    graph: dict[int, Any] = mapper.keywords["computation_graph_callable"].args[0]
    return graph


def _written(result: Any) -> dict[str, dict[str, Any]]:
    from ROOT._distrdf.PythonMergeables import SnapshotResult

    from portico.worker.frame import describe_file

    snapshots = [one for one in result.mergeables or () if isinstance(one, SnapshotResult)]
    return {path: describe_file(Path(path)) for snapshot in snapshots for path in snapshot.filenames}


def _words(error: Exception) -> str:
    return str(error).removeprefix("C++ exception thrown:").strip() or type(error).__name__


def _bytes_read() -> int:
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("rchar:"):
            return int(line.partition(":")[2])
    return 0
