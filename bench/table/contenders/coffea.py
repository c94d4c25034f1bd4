"""coffea with virtual arrays, on one core."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import hist
from coffea import processor
from coffea.nanoevents import BaseSchema

from bench.table.inputs import Input
from bench.table.wztree import HISTOGRAMS


class Contender:
    """A runner over chunks, with the executor that runs them one after the other."""

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        self._given = given
        executor = processor.IterativeExecutor(status=False, compression=None)
        self._runner = processor.Runner(executor=executor, schema=BaseSchema)

    def best(self, pt: float = 7.5, bins: int = 64, rule: str = "mass") -> dict[str, list[float]]:
        """Run the query."""
        fileset = {"events": list(self._given.files)}
        filled = self._runner(fileset, Best(pt, bins, rule), treename=self._given.tree)
        return {name: histogram.values(flow=True).tolist() for name, histogram in filled.items()}

    def close(self) -> None:
        """Nothing is left open."""


class Best(processor.ProcessorABC):
    """The query as a processor."""

    def __init__(self, pt: float, bins: int, rule: str) -> None:
        self.pt, self.bins, self.rule = pt, bins, rule

    def process(self, events):
        """Choose the best candidates of a chunk, and fill their histograms."""
        good = (
            (events.C_mu_Ds_isSoft > 0)
            & (events.C_mu_Hnl_isSoft > 0)
            & (events.C_mu_Ds_pt > self.pt)
            & (abs(events.C_mu_Ds_eta) < 1.5)
            & (events.C_Hnl_vertex_2DSig_BS > 35.5)
            & (abs(events.C_pi_BS_ip_xy) > 0.03125)
            & (events.C_mu_Hnl_BS_ips_xy > 2.75)
        )
        kept = ak.any(good, axis=1)
        good = good[kept]
        score = abs(events.C_Ds_mass[kept] - 1.96875) if self.rule == "mass" else -events.C_Hnl_vertex_prob[kept]
        best = ak.argmin(ak.mask(score, good), axis=1, keepdims=True)
        filled = {}
        for name, (low, high) in HISTOGRAMS.items():
            histogram = hist.Hist.new.Reg(self.bins, low, high, name=name).Double()
            values = events[name][kept]
            filled[name] = histogram.fill(ak.flatten(values[best]) if name.startswith("C_") else values)
        return filled

    def postprocess(self, accumulator):
        """Return what was accumulated."""
        return accumulator
