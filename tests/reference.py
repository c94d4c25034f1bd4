"""The reference analysis in small, which the tests of a run share: hnl, the farms, the notebook."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from portico.analysis.analysis import Analysis, load_analysis
from tools.facility import demo

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
    return demo.write_analysis(folder, ENTRIES, tree, files, steps, samples=FARM, name="reference")
