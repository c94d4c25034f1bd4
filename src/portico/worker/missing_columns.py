"""``FilterAvailable``, ``FilterMissing`` and ``DefaultValueFor`` over an RNTuple, which ROOT does not support.

A chunk is of one file, so that a column is there for all of its entries or for none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.errors import StepError, nearest
from portico.files.plain_name import plain_name

if TYPE_CHECKING:
    from portico.analysis.chunks import Chunk

__all__ = ["MISSING", "of_ntuple"]

MISSING = ("DefaultValueFor", "FilterAvailable", "FilterMissing")


def of_ntuple(name: str, node: Any, arguments: Sequence[Any], chunk: Chunk, reference: str, scratch: Path) -> Any:
    """Return the node that one of the `MISSING` operations gives.

    Parameters
    ----------
    name, node, arguments
        The operation, what it is called on, and its column, with the default if it has one.
    chunk : Chunk
        What is read.
    reference : str
        Another file of the sample, which has all columns of this one and more; empty if there is none.
    scratch : Path
        Folder of this process, for links to files.

    Raises
    ------
    StepError
        If neither file has the column, it has no default in an RNTuple, or the default is not a number.
    """
    column, default = str(arguments[0]), arguments[1] if len(arguments) > 1 else None
    if node.HasColumn(column):
        return node.Filter("false") if name == "FilterMissing" else node
    kind = _type_of(column, node, chunk, reference, scratch)
    if name == "FilterMissing":
        return node
    if name == "FilterAvailable":  # what comes after it may use the column
        return node.Filter("false").Define(column, f"{kind}{{}}")
    return node.Define(column, f"static_cast<{kind}>({_literal(column, default)})")


def _type_of(column: str, node: Any, chunk: Chunk, reference: str, scratch: Path) -> str:
    import ROOT

    known = ROOT.RDataFrame(chunk.tree, plain_name(reference, scratch)) if reference else node
    if not known.HasColumn(column):
        columns = [str(name) for name in known.GetColumnNames()]
        raise StepError(
            f"the file has no column '{column}', and no file of the sample has it besides all columns of this one; "
            f"{nearest(column, columns)}"
        )
    if "." in column:
        raise StepError(f"the file has no column '{column}', and a part of a column has no default in an RNTuple")
    return str(known.GetColumnType(column))


def _literal(column: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value}ull" if value >= 2**63 else f"({value + 1}ll - 1)"  # the smallest integer is not a literal
    if isinstance(value, float):
        words = {"nan": "NAN", "inf": "INFINITY", "-inf": "-INFINITY"}
        return value.hex() if math.isfinite(value) else words[str(value)]
    kind = type(value).__name__
    raise StepError(f"the default of column '{column}' of an RNTuple is a {kind}; only numbers are possible")
