"""A step over a complete sample on ROOT's distributed RDataFrame. Runs where the graph is built, in a runner process.

ROOT keeps the graph, cuts the sample into ranges, runs a range and merges two results. Between ROOT and Dask stands
our own backend instead of ROOT's: it merges neighbours only, so that rows and files keep their order; names the part
that kills workers; brings headers and files of the bundle to workers that join late; and hears what ROOT reports as
errors on the workers, which otherwise nobody does.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from portico.analysis.chunks import Chunk
from portico.errors import InputError, PorticoError, StepError
from portico.results.partial import encode, gather, take_files
from portico.results.product import Product
from portico.root import StaleProcess
from portico.worker.handles import check_handles
from portico.worker.task import Done, Failed, FailureKind, Task
from portico.worker.wire import Message
from portico_distrdf.frame import ELSEWHERE, Booking, DistributedFrame, book_reports, check_kinds, collect

if TYPE_CHECKING:
    from distributed import Client

    from portico.analysis.dataset import Sample
    from portico.worker.runner import Runner
    from portico_distrdf.worker import Tally, Ticket

__all__ = ["Cluster", "PartLost", "answer", "partitions", "run_sample"]

_FILES_AT_ONCE = 20  # that one task opens to see whether they are those that were planned
_HINT = (
    "; C++ that the step declares by itself does not reach the workers of ROOT's distributed RDataFrame: put it into a "
    "header, @step(headers=[...])"
)


class PartLost(Exception):  # noqa: N818 (what happened, in the words of the ledger)
    """A part of the sample killed every worker that worked on it."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The Dask cluster to run on.

    Parameters
    ----------
    address : str
        Of its scheduler.
    keys : tuple of (str, str)
        Files with its TLS keys, by the name of Dask's setting; without, those of Dask's configuration are used.
    own : bool
        Whether it was started for this run alone, so that its workers may be replaced.
    """

    address: str
    keys: tuple[tuple[str, str], ...]
    own: bool


def partitions(chunks: int) -> int:
    """Return into how many ranges ROOT is to cut a sample of so many chunks.

    It is a power of two: ROOT finds its ranges from fractions of files, and only then are they exact.
    """
    return 1 << (max(chunks, 1).bit_length() - 1)


def answer(runner: Runner, content: dict[str, Any], _: list[bytes]) -> Message:
    """Run a sample in a runner process, as the message says that `portico_distrdf.executor` sends."""
    from portico.worker.given_sample import GivenSample

    cluster = Cluster(content.pop("scheduler"), tuple(content.pop("keys").items()), content.pop("own"))
    parts = [Chunk(**part) for part in content.pop("parts")]
    task, began = Task.from_json(content), time.process_time()
    function, sample = runner.function(task.function), GivenSample(**task.sample)
    try:
        products, metrics = run_sample(function, sample, task, parts, cluster, runner.bundle)
    except PartLost as lost:
        return Failed(task, FailureKind.CRASH, str(lost)).to_answer()
    metrics["cpu"] += time.process_time() - began
    products, files = take_files(products)
    return Done(task, encode(products), metrics, files).to_answer()


def run_sample(
    function: Callable[..., Any], sample: Sample, task: Task, parts: Sequence[Chunk], cluster: Cluster,
    bundle: tuple[str, str],
) -> tuple[dict[str, Product], dict[str, Any]]:  # fmt: skip
    """Run a step over all chunks of a sample.

    Parameters
    ----------
    function, sample
        The step, and what is passed on to it.
    task, parts
        The complete sample, and the chunks that cover it.
    cluster : Cluster
        Where to run.
    bundle : (str, str)
        The digest of the step's bundle, and where it lies in this process.

    Returns
    -------
    products : dict of str to Product
        What the step returned.
    metrics : dict
        Seconds, bytes and memory, of all workers together.

    Raises
    ------
    InputError
        If a file is not the one that was planned, or damaged.
    StepError, ProductError
        If the step returns what cannot be used, or uses what is not possible here.
    PartLost
        If a part killed its workers.
    RuntimeError
        If the event loop failed, in its words.
    """
    from portico_distrdf.worker import Ticket

    began = time.perf_counter()
    client, entries = _client(cluster.address, cluster.keys), task.chunk.entries
    ticket = Ticket(*bundle, task.folder)
    _check_files(client, cluster, parts, ticket)
    opened, backend = time.perf_counter(), Backend(client, ticket)
    node = _open(parts, entries, backend)
    seen, booking = node.Count(), Booking(task.folder)
    cuts = None if task.chunk.file else ()  # a generated sample has the column 'entry' already
    handles = function(DistributedFrame(node, booking, cuts), sample, **task.options)
    check_handles(handles, booking.snapshots, 0)
    check_kinds(handles)
    book_reports(handles)
    built = time.perf_counter()
    backend.closed = False
    found = seen.GetValue()
    if found != entries:
        raise InputError(f"read {found} entries instead of {entries}; a file is damaged, or was replaced meanwhile")
    ran, tally = time.perf_counter(), backend.tally
    products = gather((name, collect(name, handle, tally.files)) for name, handle in handles.items())
    metrics = {"open": opened - began, "build": built - opened, "loop": tally.wall, "wall": tally.wall + built - began}
    metrics |= {"serialise": time.perf_counter() - ran, "cpu": tally.cpu, "bytes_read": tally.bytes_read}
    return products, {**metrics, "entries": entries, "loops": 1, "worker_memory": tally.memory}


@cache
def _client(address: str, keys: tuple[tuple[str, str], ...]) -> Client:
    from distributed import Client

    from portico.clusters.tls import client_security

    security = client_security(dict(keys)) if keys else None
    return Client(address, security=security, set_as_default=False, timeout=30)  # type: ignore[no-untyped-call]


def _check_files(client: Client, cluster: Cluster, chunks: Sequence[Chunk], ticket: Ticket) -> None:
    """Have workers open all files once; a worker that holds older C++ is replaced, if the cluster is our own."""
    from portico_distrdf.worker import check_files

    files = list({(chunk.file, chunk.uuid): None for chunk in chunks if chunk.file})
    for again in (cluster.own, False):
        batches = [files[i : i + _FILES_AT_ONCE] for i in range(0, max(len(files), 1), _FILES_AT_ONCE)]
        futures = [client.submit(check_files, batch, ticket, pure=False) for batch in batches]
        try:
            client.gather(futures)  # type: ignore[no-untyped-call]
        except StaleProcess as stale:
            if not again:
                raise StepError(
                    f"the Dask workers hold another version of the header {stale}, and a process cannot hold two: "
                    f"start the Dask workers again; {ELSEWHERE}"
                ) from None
            client.restart()
        except Exception as error:
            if _killed(error):
                raise PartLost("its files, or the step's headers, killed the workers that opened them") from None
            raise
        else:
            return


def _open(chunks: Sequence[Chunk], entries: int, backend: Backend) -> Any:
    from ROOT._distrdf.DataFrame import RDataFrame
    from ROOT._distrdf.HeadNode import get_headnode

    parts = partitions(len(chunks))
    if not chunks[0].file:
        frame = RDataFrame(get_headnode(backend, parts, entries))
        return frame._headproxy.Define("entry", "rdfentry_")
    trees = {chunk.tree for chunk in chunks}
    if len(trees) > 1:
        raise InputError(f"its files hold trees of several names ({', '.join(sorted(trees))}); {ELSEWHERE}")
    files = list(dict.fromkeys(chunk.file for chunk in chunks))
    return RDataFrame(get_headnode(backend, parts, trees.pop(), files))._headproxy


class Backend:
    """What ROOT's distributed RDataFrame asks of a backend, as in its ``_distrdf.Backends.Base``.

    Parameters
    ----------
    client : Client
        Of the Dask cluster.
    ticket : Ticket
        What the workers need.
    """

    strings_to_declare: Mapping[str, str] = {}

    def __init__(self, client: Client, ticket: Ticket) -> None:
        self._client, self._ticket = client, ticket
        self.closed = True
        self._tally: Tally | None = None

    @property
    def tally(self) -> Tally:
        """What the run cost.

        Raises
        ------
        RuntimeError
            If there was none.
        """
        if self._tally is None:
            raise RuntimeError("the graph has not run")
        return self._tally

    @staticmethod
    def initialization() -> None:
        """Do nothing: our own task sets up the worker."""

    def optimize_npartitions(self) -> int:
        """Return what ROOT uses if nobody says how many ranges there are; here somebody does."""
        return 1

    def make_dataframe(self, *_: Any) -> Any:
        """Return nothing to go on with from a Snapshot: a later step reads it."""
        return ()

    def cleanup_cache(self, execution: Any) -> None:
        """Have all workers forget a graph; those that are gone have."""
        from portico_distrdf.worker import forget

        with suppress(Exception):
            self._client.run(forget, execution, on_error="ignore")

    def ProcessAndMerge(self, ranges: Sequence[Any], mapper: Any, _: Any) -> Any:  # noqa: N802 (ROOT's name)
        """Run all ranges and merge their results along the tree that joins neighbours.

        Raises
        ------
        StepError
            If the step itself asked for it, while it was being built.
        InputError, SpaceError
            If ROOT reported that not all could be read or written.
        PartLost
            If a range killed its workers.
        RuntimeError
            If the event loop failed, in its words.
        """
        if self.closed:
            raise StepError(
                "the step ran the event loop while it was being built; return the handle itself and leave out "
                "GetValue(), Print(), loops over results and other uses of them: they need an event loop each"
            )
        from distributed.protocol import pickle

        from portico_distrdf.worker import join, run_piece, where_of

        run = uuid.uuid4().hex
        keys = {f"portico-{run}-{number}": one for number, one in enumerate(ranges)}
        pieces = [
            self._client.submit(run_piece, pickle.dumps((mapper, one)), self._ticket, key=key, pure=False)  # type: ignore[no-untyped-call]
            for key, one in keys.items()
        ]
        while len(pieces) > 1:
            odd = pieces[-1:] if len(pieces) % 2 else []
            pairs = zip(pieces[::2], pieces[1::2], strict=False)
            pieces = [self._client.submit(join, *pair, pure=False) for pair in pairs] + odd
        try:
            result, self._tally = pieces[0].result()
        except Exception as error:
            if lost := _killed(error):
                what = where_of(keys[lost]) if lost in keys else "merging its results"
                raise PartLost(f"{what} killed every Dask worker that worked on it") from None
            if isinstance(error, PorticoError):
                raise
            words = str(error)
            raise RuntimeError(words + _HINT if "just-in-time compilation" in words else words) from None
        return result


def _killed(error: Exception) -> str:
    """Return the key of the task that killed its workers, if that is what happened."""
    from distributed import KilledWorker

    return str(error.task) if isinstance(error, KilledWorker) else ""
