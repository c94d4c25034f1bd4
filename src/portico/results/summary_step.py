"""What a summary step returns, as files: values as JSON, figures as pictures, tables as trees."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from portico.errors import InputError, StepError

if TYPE_CHECKING:
    from portico.analysis.dataset import Sample
    from portico.results.view import Results

__all__ = ["SUMMARY_FILE", "content_of", "summarise"]

SUMMARY_FILE = "summary.json"
"""Where the values of a summary step lie in its folder."""

_ROWS = 1_000_000  # of a table, written or read at a time
_TREES = {"TTree", "ROOT::RNTuple"}


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
        mapping of columns, all of them one-dimensional numpy
        arrays of numbers of one length, as a ROOT file with one TTree. Figures of a partial run are marked.

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
            if partial:
                value.text(0.99, 0.99, f"PARTIAL: {', '.join(partial)}", color="red", ha="right", va="top")
            files += [(f"{name}.{suffix}", _picture(value, suffix)) for suffix in ("png", "pdf")]
        elif isinstance(value, (bytes, str)) and Path(name).suffix:
            files.append((_file_name(name), value if isinstance(value, bytes) else value.encode("utf-8")))
        elif _is_table(value):
            files.append((f"{name}.root", _table(name, value)))
        else:
            try:
                values[name] = json.loads(json.dumps(value, allow_nan=False, default=_plain))
            except (TypeError, ValueError) as error:
                raise StepError(f"the summary's '{name}' cannot be saved as JSON: {error}") from error
    return values, files


def content_of(path: Path) -> str:
    """Return a digest of what a file says.

    A ROOT file also holds when it was written; of one, the names, types and values of its trees' columns count.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if path.suffix == ".root":
            _add_trees(path, digest.update)
        else:
            digest.update(path.read_bytes())
    except Exception as error:  # uproot lets many kinds through for damaged files
        text = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read: {text}; remove it, and run the step that writes it") from error
    return digest.hexdigest()


def _add_trees(path: Path, add: Callable[[bytes], None]) -> None:
    import uproot

    with uproot.open(path) as file:
        for name, class_name in sorted(file.classnames(cycle=False).items()):
            if class_name not in _TREES:
                continue
            tree = file[name]
            add(json.dumps([name, tree.num_entries, tree.typenames()]).encode())
            for first in range(0, tree.num_entries, _ROWS):
                columns = tree.arrays(library="np", entry_start=first, entry_stop=first + _ROWS)
                for column in tree.keys():  # noqa: SIM118 (a tree is no mapping)
                    add(np.ascontiguousarray(columns[column]).tobytes())


def _file_name(name: str) -> str:
    if name == SUMMARY_FILE or Path(name).name != name or name.startswith("."):
        raise StepError(f"a file of a summary has a name like 'card.txt', other than {SUMMARY_FILE}; not '{name}'")
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


def _picture(figure: Any, suffix: str) -> bytes:
    from matplotlib.layout_engine import PlaceHolderLayoutEngine

    buffer = io.BytesIO()
    engine = figure.get_layout_engine()
    if engine is not None and not isinstance(engine, PlaceHolderLayoutEngine):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # found once, not anew in every drawing
    fits = isinstance(figure.get_layout_engine(), PlaceHolderLayoutEngine)
    # Dates are left out so that the same numbers give the same file.
    figure.savefig(
        buffer,
        format=suffix,
        dpi=120,
        bbox_inches=None if fits else "tight",
        metadata={"CreationDate": None} if suffix == "pdf" else None,
    )
    return buffer.getvalue()
