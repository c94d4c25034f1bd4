"""Columns of ``DefinePerSample`` over a chunk: the column that plain RDataFrame gives over the whole file."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico import root
from portico.errors import StepError
from portico.worker.open_chunk import count_entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.analysis.chunks import Chunk
    from portico.analysis.dataset import Sample

__all__ = ["define_per_sample"]

_RETURN = re.compile(r"\breturn\b")


def define_per_sample(node: Any, given: Sequence[Any], chunk: Chunk, sample: Sample, scratch: Path) -> Any:
    """Define a column of one value, from the sample's name and the file with all its entries.

    Parameters
    ----------
    node : RDataFrame node
        Where the column is defined.
    given : sequence
        The arguments of ``DefinePerSample``: its name, and an expression or an object that is called.
    chunk, sample : Chunk, Sample
        What is read.
    scratch : Path
        Folder of this process, for links to files.

    Raises
    ------
    StepError
        If the arguments are others, or the expression does not compile.
    """
    import ROOT

    if len(given) != 2 or not isinstance(given[0], str):
        raise StepError('DefinePerSample needs the name of a column and an expression, such as ("weight", "2.")')
    ours = root.use("sample.h")
    if chunk.file:
        where, entries = f"{chunk.file}/{chunk.tree}", count_entries(chunk.file, chunk.tree, scratch)
    else:
        entries = sample.entries if sample.entries is not None else chunk.last
        where = f"Empty source, range: {{0, {entries}}}"
    function = _compiled(*given) if isinstance(given[1], str) else given[1]
    source = sample.name, where, chunk.tree, chunk.file, entries, _metadata(sample)
    return ours.DefinePerSample(ROOT.RDF.AsRNode(node), given[0], function, *source)


def _metadata(sample: Sample) -> Any:
    """Return the sample's parameters as ROOT's metadata, which has whole numbers of 32 bits, doubles and texts."""
    import ROOT

    metadata = ROOT.RDF.Experimental.RMetaData()
    for key, value in sample.parameters.items():
        if isinstance(value, int) and abs(value) >= 2**31:
            metadata.Add(key, float(value))
        elif isinstance(value, (int, float, str)):
            metadata.Add(key, int(value) if isinstance(value, bool) else value)
    return metadata


def _compiled(column: str, expression: str) -> Any:
    """Return an object of C++ that evaluates an expression, as ROOT understands it."""
    import ROOT

    body = expression if _RETURN.search(expression) else f"return {expression}\n;"
    name = f"portico_PerSample_{hashlib.sha256(body.encode()).hexdigest()[:16]}"
    what = "(unsigned int rdfslot_, const ROOT::RDF::RSampleInfo &rdfsampleinfo_)"
    if not root.declare_text(f"struct {name} {{ auto operator(){what} const {{ {body} }} }};"):
        raise StepError(f"DefinePerSample('{column}', ...) does not compile")
    return getattr(ROOT, name)()
