"""The reference analysis in small, which the tests of a run share: hnl, the farms, the notebook."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import yaml

from portico.analysis.analysis import Analysis, load_analysis

ENTRIES = 600
SEARCH = ("signal_m1p0_ctau10", "signal_m1p0_ctau100", "background", "data")
FARM = ("signal_m1p0_ctau10", "background", "data")
"""The samples that go to a farm."""
CTAUS, POINTS = (10.0, 100.0), 8
SAMPLES = (*SEARCH, "control", "control_dplus", "control_data")


def small_analysis() -> Analysis:
    """Return the demonstration with few samples and few events."""
    analysis = load_analysis("hnl")
    efficiencies = [analysis.dataset[name].filter_efficiency for name in SEARCH[:2]]
    samples = {}
    for name in SAMPLES:
        sample = analysis.dataset[name]
        entries = 1500 if name.startswith("control") else ENTRIES  # the fit needs some
        fields = {"entries": entries, "processed_events": sample.processed_events and entries}
        if sample.kind == "signal":
            merged = {"merge_ctau": CTAUS, "merge_decays": tuple(ENTRIES / e for e in efficiencies)}
            fields["parameters"] = {**sample.parameters, **merged}
        samples[name] = sample.model_copy(update=fields)
    steps = tuple(
        step.model_copy(update={"samples": tuple(name for name in step.samples if name in samples)})
        for step in analysis.steps
    )
    dataset = analysis.dataset.model_copy(update={"samples": samples})
    analysis = analysis.model_copy(update={"dataset": dataset, "steps": steps})
    return analysis.with_options("select", lifetimes=[20, 50]).with_options("search", points=POINTS)


def write_analysis(folder: Path, tree: str, files: Callable[[str], list[str]], steps: str) -> Path:
    """Write an analysis of the samples of a farm that reads files which the small one has made."""
    dataset = load_analysis("hnl").dataset
    samples = {}
    for name in FARM:
        fields = dataset[name].model_dump(exclude={"name", "files", "replicas", "completeness"}, exclude_none=True)
        samples[name] = {**fields, "processed_events": ENTRIES, "tree": tree, "files": files(name)}
        del samples[name]["entries"]
        for merged in ("merge_ctau", "merge_decays"):  # one lifetime stands alone
            samples[name]["parameters"].pop(merged, None)
    folder.mkdir(exist_ok=True)
    path = folder / "analysis.yaml"
    plain = json.loads(json.dumps({"name": "reference", "dataset": {"samples": samples}}))
    path.write_text(yaml.safe_dump(plain, sort_keys=False) + f"steps:{steps}")
    return path
