"""Summary steps on the worker: calling the function, and writing its results as JSON, pictures, tables and files."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from portico.errors import StepError
from portico.results.kinds import KINDS
from portico.results.view import Results
from portico.runfolder.folder import SUMMARY_FILE
from portico.runfolder.stored_paths import StoredPaths
from portico.worker.given_sample import GivenSample
from portico.worker.opened import expect

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from portico.analysis.dataset import Sample

__all__ = ["answer", "summarise"]

_FILE_NAME = re.compile(r"[^\W.][^/\\\x00-\x1f\x7f-\x9f]*")
_NAME_BYTES = 200  # file systems allow 255, and a file has a longer name while it is written
_ROWS = 1_000_000  # of a table, written at a time


def answer(
    function: Callable[..., Any], content: Mapping[str, Any], blobs: Sequence[bytes]
) -> tuple[dict[str, Any], list[bytes]]:
    """Answer the message that asks for a summary.

    Parameters
    ----------
    function : callable
        The step.
    content : mapping
        The message: ``samples`` with the fields of each sample, the ``options`` of the step, and ``home``, the run
        folder, in which paths of trees are relative.
    blobs : sequence of bytes
        The encoded results of each sample.

    Returns
    -------
    content : dict
        The ``value`` of the summary, and the names of its ``files``.
    blobs : list of bytes
        What is in each file.

    Raises
    ------
    StepError
        As `summarise`.
    """
    samples = {name: GivenSample(**fields) for name, fields in content["samples"].items()}
    paths = StoredPaths(Path(content["home"]))
    results = {name: Results(name, paths.decode(blob)) for name, blob in zip(samples, blobs, strict=True)}
    trees = [item["path"] for of in results.values() for product in of.products.values()
             if KINDS[product.kind].has_files for item in product.items]  # fmt: skip
    expect(content["options"].values(), *trees)
    value, files = summarise(function, results, samples, content["options"])
    return {"value": value, "files": [name for name, _ in files]}, [blob for _, blob in files]


def summarise(
    function: Callable[..., Any],
    results: Mapping[str, Results],
    samples: Mapping[str, Sample],
    options: Mapping[str, Any],
) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """Call a summary step.

    Returns
    -------
    values : dict
        What JSON can hold. Of a partial run, ``partial`` names the samples that are not whole.
    files : list of (str, bytes)
        Name and content of each file: bytes or text under a name with a suffix, as they are; figures as PNG and PDF; a
        mapping of columns, all of them one-dimensional numpy arrays of numbers of one length, as a ROOT file with one
        TTree. Figures of a partial run are marked.

    Raises
    ------
    StepError
        If it returns something else, or a number that is not finite.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib.figure import Figure

    returned = function(results, samples, **options)
    partial = [sample.name for sample in samples.values() if sample.completeness < 1]
    if not isinstance(returned, Mapping) or not returned:
        raise StepError(
            f"the summary step returned {type(returned).__name__}; "
            "return a mapping of names to values, figures or tables"
        )
    values: dict[str, Any] = {"partial": partial} if partial else {}
    files: list[tuple[str, bytes]] = []
    for name, value in returned.items():
        if isinstance(value, Figure):
            _file_name(f"{name}.png")
            if partial:
                value.text(0.99, 0.99, f"PARTIAL: {', '.join(partial)}", color="red", ha="right", va="top")
            files += [(f"{name}.{suffix}", picture) for suffix, picture in _pictures(value)]
        elif isinstance(value, (bytes, str)) and Path(name).suffix:
            files.append((_file_name(name), value if isinstance(value, bytes) else value.encode("utf-8")))
        elif _is_table(value):
            files.append((_file_name(f"{name}.root"), _table(name, value)))
        else:
            try:
                values[name] = json.loads(json.dumps(value, allow_nan=False, default=_plain))
            except (TypeError, ValueError) as error:
                raise StepError(f"the summary's '{name}' cannot be saved as JSON: {error}") from error
    counts = Counter(name.lower() for name, _ in files)
    if twice := [name for name, _ in files if counts[name.lower()] > 1]:
        raise StepError(f"two files of the summary have the name '{twice[0]}', in upper or lower case")
    return values, files


def _file_name(name: str) -> str:
    """Return the name of a file in the step's folder, if it is one: it leads nowhere else, and is not portico's own."""
    if name.lower() == SUMMARY_FILE or not _FILE_NAME.fullmatch(name) or len(name.encode()) > _NAME_BYTES:
        raise StepError(
            f"a file, figure or table of a summary has a name like 'card.txt', without '/' and other than "
            f"{SUMMARY_FILE}; not {name!r}"
        )
    return name


def _is_table(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and all(isinstance(a, np.ndarray) and a.ndim == 1 and a.dtype.kind in "biuf" for a in value.values())
        and len({len(array) for array in value.values()}) == 1
    )


def _table(name: str, columns: Mapping[str, npt.NDArray[Any]]) -> bytes:
    import uproot

    buffer = io.BytesIO()
    with uproot.recreate(buffer) as file:
        tree = file.mktree(name, {column: array.dtype for column, array in columns.items()})
        for first in range(0, len(next(iter(columns.values()))), _ROWS):
            tree.extend({column: array[first : first + _ROWS] for column, array in columns.items()})
        return buffer.getvalue()  # before uproot closes it


def _plain(value: object) -> object:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is neither number, text, list nor mapping")


def _pictures(figure: Figure) -> Iterator[tuple[str, bytes]]:
    """Yield a figure as PNG and as PDF, with their suffixes."""
    lays_out = figure.get_layout_engine() is not None
    if lays_out:
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # found once; an engine, even one that does nothing, costs a drawing each time
    for suffix in ("png", "pdf"):
        buffer = io.BytesIO()
        # Dates are left out so that the same numbers give the same file.
        metadata = {"CreationDate": None} if suffix == "pdf" else None
        figure.savefig(buffer, format=suffix, dpi=120, bbox_inches=None if lays_out else "tight", metadata=metadata)
        yield suffix, buffer.getvalue()
