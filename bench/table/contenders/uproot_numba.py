"""uproot, which reads columns as arrays, and a loop over them that numba compiles; one core."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import hist
import numba
import numpy as np
import uproot

from bench.table.inputs import Input
from bench.table.wztree import CANDIDATE, HISTOGRAMS


@numba.njit(cache=True)
def choose(offsets, ds_soft, hnl_soft, ds_pt, ds_eta, significance, ip, ips, score, pt):
    """Return the event and the place of the best candidate of each event that has one."""
    events, places, n = np.empty(len(offsets) - 1, np.int64), np.empty(len(offsets) - 1, np.int64), 0
    for event in range(len(offsets) - 1):
        best = -1
        for i in range(offsets[event], offsets[event + 1]):
            good = (
                ds_soft[i] > 0 and hnl_soft[i] > 0 and ds_pt[i] > pt and abs(ds_eta[i]) < 1.5
                and significance[i] > 35.5 and abs(ip[i]) > 0.03125 and ips[i] > 2.75
            )  # fmt: skip
            if good and (best < 0 or score[i] < score[best]):
                best = i
        if best >= 0:
            events[n], places[n] = event, best
            n += 1
    return events[:n], places[:n]


class Contender:
    """The program; numba keeps what it compiled on disk."""

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        self._given = given

    def best(self, pt: float = 7.5, bins: int = 64, rule: str = "mass") -> dict[str, list[float]]:
        """Run the query."""
        filled = {name: hist.Hist.new.Reg(bins, *ends).Double() for name, ends in HISTOGRAMS.items()}
        of_tree = dict.fromkeys(self._given.files, self._given.tree)
        for arrays in uproot.iterate(of_tree, [*CANDIDATE, "nPV"], step_size="200 MB"):
            offsets = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(arrays.C_Ds_mass)))])
            flat = {name: ak.to_numpy(ak.flatten(arrays[name])) for name in CANDIDATE}
            score = np.abs(flat["C_Ds_mass"] - np.float32(1.96875)) if rule == "mass" else -flat["C_Hnl_vertex_prob"]
            events, places = choose(
                offsets, flat["C_mu_Ds_isSoft"], flat["C_mu_Hnl_isSoft"], flat["C_mu_Ds_pt"], flat["C_mu_Ds_eta"],
                flat["C_Hnl_vertex_2DSig_BS"], flat["C_pi_BS_ip_xy"], flat["C_mu_Hnl_BS_ips_xy"], score, pt,
            )  # fmt: skip
            for name, histogram in filled.items():
                histogram.fill(flat[name][places] if name in flat else ak.to_numpy(arrays[name])[events])
        return {name: histogram.values(flow=True).tolist() for name, histogram in filled.items()}

    def close(self) -> None:
        """Nothing is left open."""
