"""The model of one mass and coupling as files that other programs read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from portico.stats.exports.combine import counting_card
from portico.stats.exports.pyhf import pyhf_counting, pyhf_workspace

if TYPE_CHECKING:
    from hnl.hypotheses import Hypothesis, Point

__all__ = ["files_of"]


def files_of(hypothesis: Hypothesis, point: Point) -> dict[str, str]:
    """Return the files of a point by name.

    ``model_<mass>.json`` is for ``portico limit``, which also writes it in all other formats. Of counts there are
    ``pyhf_<mass>.json`` and the datacard ``card_<mass>.txt``; of fits the linearised ``pyhf_<mass>.json``.

    Raises
    ------
    FitError
        If the fit without signal does not converge.
    """
    files, tag = {}, hypothesis.tag
    if hypothesis.model is not None:
        files[f"model_{tag}.json"] = hypothesis.model_at(point).model_dump_json(indent=1)
    if hypothesis.method == "counting":
        counts = hypothesis.counts_at(point)
        files[f"pyhf_{tag}.json"] = json.dumps(pyhf_counting(counts), indent=1)
        files[f"card_{tag}.txt"] = counting_card(counts)
    else:
        files[f"pyhf_{tag}.json"] = json.dumps(pyhf_workspace(hypothesis.model_at(point)), indent=1)
    return files
