"""The analysis of the facility: the search of hnl in small, whose events an XRootD server has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml

from portico.analysis.analysis import load_analysis

SAMPLES = ("signal_m1p0_ctau10", "background", "data")
EVENTS = 3000
"""Events of each sample."""
SIMULATION = """
  - {name: simulate, function: "hnl.simulate:simulate", chunk: 500 entries}
"""
STEPS = """
  - {name: skim, function: "hnl.skim:skim", chunk: 500 entries}
  - {name: select, function: "hnl.select:select", input: skim}
  - {name: search, function: "hnl.search:search", input: select, options: {points: 6}}
  - {name: scan, function: "hnl.scan:scan", points: search/points.json, chunk: 3 points}
  - {name: limits, function: "hnl.limits:limits", input: scan, files: {hypotheses: search/hypotheses.json}}
"""


def write_analysis(
    folder: Path, entries: int, tree: str = "", files: Callable[[str], list[str]] | None = None, steps: str = STEPS, *,
    samples: Iterable[str] = SAMPLES, name: str = "search",
) -> Path:  # fmt: skip
    """Write an analysis of some samples of hnl, which makes events or reads the files of those that did.

    Parameters
    ----------
    folder : Path
        Where ``analysis.yaml`` goes.
    entries : int
        Events of each sample.
    tree : str
        Name of the tree in the files.
    files : callable, optional
        Returns the files of a sample; without, the steps make them.
    steps : str
        The steps, in YAML.
    samples : iterable of str
        Names of the samples.
    name : str
        Name of the analysis.
    """
    dataset = load_analysis("hnl").dataset
    written = {}
    for sample in samples:
        fields = dataset[sample].model_dump(exclude={"name", "files", "replicas", "completeness"}, exclude_none=True)
        written[sample] = {**fields, "processed_events": entries, "entries": entries}
        if files is not None:
            del written[sample]["entries"]
            written[sample] |= {"tree": tree, "files": files(sample)}
        for merged in ("merge_ctau", "merge_decays"):  # one lifetime stands alone
            written[sample]["parameters"].pop(merged, None)
    folder.mkdir(exist_ok=True)
    path = folder / "analysis.yaml"
    plain = json.loads(json.dumps({"name": name, "dataset": {"samples": written}}))
    path.write_text(yaml.safe_dump(plain, sort_keys=False) + f"steps:{steps}")
    return path
