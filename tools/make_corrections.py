"""Make the correction files shipped in ``hnl/corrections``, for the demonstration: none of them is a measurement.

``pileup.json``
    Weights that turn the profile of the simulation into that of the stand-in for data: the ratio of two gamma
    distributions of the mean number of interactions, with the relative width that the simulation uses. Up and down move
    the data's mean by 4.6%, the usual uncertainty of the minimum-bias cross section.
``trigger.json``
    Efficiency of a muon to fire any path, in pT and impact-parameter significance. That of the simulation is counted in
    simulated Ds -> phi pi, phi -> mu mu by tag and probe: every muon counts whose partner fired. That of "data" is
    this one times a factor that is written here.
``muon.json``, ``shape.json``
    Scale factors of muon identification and reconstruction; scales of a muon's pT and significance. Of the size that
    CMS has published for muons of these momenta (JINST 13 (2018) P06015), written here.

Run as ``python tools/make_corrections.py OUTPUT_FOLDER``; half a minute to a minute on one core, nearly all of it the
simulation, which ``--only`` leaves out. The same options give the same files bit for bit.
"""

from __future__ import annotations

import argparse
import logging
import math
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray
from scipy import stats

import hnl
from hnl.simulate import simulate
from portico import Sample
from portico.analysis.chunks import Chunk
from portico.corrections.convert import Grid, to_correction, write_corrections
from portico.worker.frame import run_chunk
from portico.worker.in_process import load_cpp

FILES = ("pileup", "trigger", "muon", "shape")
MARK = "Made for the demonstration, not a measurement."
LOG = logging.getLogger("make_corrections")

HEADERS = Path(hnl.__file__).parent / "include"
COLUMNS = ["Muon_track", "Track_qOverP", "Track_lambda", "Track_dxy", "Track_cov", "Trig_muon", "BS_widthX"]
ELEMENTS, DXY_VARIANCE = 15, 9  # of a track's covariance: the lower triangle by rows
MIN_BIAS_UNCERTAINTY = 0.046  # of the inelastic cross section, as CMS uses it
PILEUP_MAX = 120
RARE = 1e-5  # beyond the interactions that this share of simulated events exceeds, the weight stays what it is
TRIGGER_PT = (0.0, 6.0, 7.0, 8.0, 9.0, 10.5, 12.0, 15.0, 20.0, math.inf)
TRIGGER_IPS = (0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0, math.inf)
MUON_PT = (2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 40.0)
MUON_ETA = (0.0, 0.9, 1.2, 2.1, 2.4)
SHAPE_PT = (0.0, 5.0, 10.0, 20.0, 50.0, math.inf)
SHAPE_ETA = (0.0, 0.9, 1.5, 2.5)

Values = NDArray[np.float64]
Edges = tuple[float, ...]


def profile(mean: float) -> Values:
    """Return the probability of 0, 1, ... true interactions, rounded as the simulation does."""
    constants = (HEADERS / "constants.h").read_text(encoding="utf-8")
    shape = 1.0 / float(re.search(r"PILEUP_SPREAD = ([\d.]+)", constants)[1]) ** 2  # type: ignore[index]
    edges = np.arange(PILEUP_MAX + 2) - 0.5
    return np.diff(stats.gamma.cdf(edges, shape, scale=mean / shape))


def pileup_weights(simulated: float, data: float) -> Values:
    """Return the weight for 0, 1, ... true interactions."""
    given, wanted = profile(simulated), profile(data)
    common = np.flatnonzero((np.cumsum(given) > RARE) & (np.cumsum(given[::-1])[::-1] > RARE))
    weights = np.ones(PILEUP_MAX + 1)
    weights[common] = wanted[common] / given[common]
    weights[: common[0]], weights[common[-1] :] = weights[common[0]], weights[common[-1]]
    weights /= np.sum(weights * given)
    weights[0] = 1.0  # a sample without pile-up has 0 everywhere, one with pile-up hardly ever
    return weights


def make_pileup(folder: Path, options: argparse.Namespace) -> None:
    """Write ``pileup.json``."""
    edges = (tuple(float(edge) for edge in np.arange(PILEUP_MAX + 2) - 0.5),)
    made = []
    for name, simulated, data in options.pileup:
        nominal, up, down = (
            pileup_weights(simulated, data * (1.0 + sign * MIN_BIAS_UNCERTAINTY)) for sign in (0, 1, -1)
        )
        text = (
            f"{MARK} Weight for the true number of interactions: from a simulated mean of {simulated:g} to {data:g} in "
            f"data, both gamma distributions. Up and down: the mean of data by {100 * MIN_BIAS_UNCERTAINTY:g}%. 1 for "
            "samples without pile-up, which have 0."
        )
        grid = Grid(("nPU_trueInt",), edges, *(np.round(values, 6) for values in (nominal, up, down)))
        made.append(to_correction(grid, name, text))
    write_corrections(folder / "pileup.json", made, f"Pile-up weights. {MARK}")


def simulated_muons(events: int, seed: int) -> ak.Array:
    """Simulate Ds -> phi pi, phi -> mu mu with a fired and two identified muons; return the muon columns."""
    load_cpp("hnl.simulate:simulate", HEADERS)
    parameters = {"process": "control", "seed": seed, "min_muons": 2}
    sample = Sample(name="control", kind="signal", entries=events, parameters=parameters)
    with tempfile.TemporaryDirectory() as folder:
        made, _ = run_chunk(simulate, Chunk("", "", "", 0, events), sample, {}, Path(folder))
        with uproot.open(made["events"].items[0]["path"]) as file:
            return file["events"].arrays(COLUMNS)


def probes(events: ak.Array) -> tuple[Values, Values, NDArray[np.bool_]]:
    """Return pT, significance and the trigger decision of every muon whose partner fired."""
    track = events.Muon_track
    pt = (np.cos(events.Track_lambda) / abs(events.Track_qOverP))[track]
    variance = events.Track_cov[:, DXY_VARIANCE::ELEMENTS][track] + events.BS_widthX**2
    ips = abs(events.Track_dxy[track]) / np.sqrt(variance)
    fired = ak.any(ak.local_index(track)[:, :, None] == events.Trig_muon[:, None, :], axis=2)
    tagged = ak.sum(fired, axis=1) - fired > 0
    pt, ips, fired = (ak.to_numpy(ak.flatten(column[tagged])) for column in (pt, ips, fired))
    return pt.astype(float), ips.astype(float), fired


def trigger_efficiency(events: ak.Array) -> Values:
    """Return the efficiency in bins, (k + 1/2) / (n + 1), which is never 0, so that division is safe."""
    pt, ips, fired = probes(events)
    bins = (TRIGGER_PT, TRIGGER_IPS)
    total, _, _ = np.histogram2d(pt, ips, bins)
    passed, _, _ = np.histogram2d(pt[fired], ips[fired], bins)
    LOG.info("%d probes, %d of them fired; fewest in a bin %d", total.sum(), passed.sum(), total.min())
    return np.round((passed + 0.5) / (total + 1.0), 7)


def make_trigger(folder: Path, options: argparse.Namespace) -> None:
    """Write ``trigger.json``."""
    simulated = trigger_efficiency(simulated_muons(options.events, options.seed))
    pt, ips = np.meshgrid(TRIGGER_PT[:-1], TRIGGER_IPS[:-1], indexing="ij")
    factor = np.where((pt < 9.0) | (ips < 6.0), 0.94, 0.97)
    error = np.where((pt < 9.0) | (ips < 6.0), 0.03, 0.015)
    data = [np.round(np.minimum(simulated * (factor + sign * error), 1.0), 7) for sign in (0, 1, -1)]
    inputs, edges = ("pt", "ips_xy"), (TRIGGER_PT, TRIGGER_IPS)
    axes = "in pT (GeV) and transverse impact-parameter significance to the beam spot (absolute)"
    counted = (
        f"{MARK} Efficiency of an identified muon to fire any of the ten paths, {axes}: of all muons whose partner "
        f"fired, in {options.events} simulated Ds to phi pi, phi to mu mu."
    )
    made = (
        f"{MARK} The efficiency of the simulation times 0.97 +- 0.015, at the turn-on (pT below 9 GeV or significance "
        "below 6) times 0.94 +- 0.03."
    )
    simulation = Grid(inputs, edges, simulated, simulated, simulated)
    corrections = [
        to_correction(simulation, "trigger_efficiency_simulation", counted, varied=False),
        to_correction(Grid(inputs, edges, *data), "trigger_efficiency_data", made),
    ]
    write_corrections(folder / "trigger.json", corrections, f"Trigger efficiencies of a muon. {MARK}")


def _map(inputs: tuple[str, str], pt: Edges, eta: Edges, value: Callable[..., tuple[Values, Values]]) -> Grid:
    """Return a grid of the values and errors at the lower edges of the bins."""
    center, error = value(*np.meshgrid(pt[:-1], eta[:-1], indexing="ij"))
    return Grid(inputs, (pt, eta), *(np.round(center + sign * error, 5) for sign in (0, 1, -1)))


def make_muon(folder: Path, _: argparse.Namespace) -> None:
    """Write ``muon.json``."""

    def identification(pt: Values, eta: Values) -> tuple[Values, Values]:
        soft = np.exp(-(pt - 2.0) / 3.0)
        return 0.995 - 0.02 * soft - np.where(eta >= 1.2, 0.004, 0.0), 0.003 + 0.009 * soft

    def reconstruction(pt: Values, eta: Values) -> tuple[Values, Values]:
        soft = np.exp(-(pt - 2.0) / 3.0)
        return 0.998 - 0.008 * soft - np.where(eta >= 0.9, 0.002, 0.0), 0.002 + 0.006 * soft

    kinds = {
        "muon_id": ("soft identification", "0.5 to 3% below 1, errors of 0.3 to 1.2%", identification),
        "muon_reco": ("reconstruction as tracker muon", "0.2 to 1.2% below 1, errors of 0.2 to 0.8%", reconstruction),
    }
    made = [
        to_correction(
            _map(("pt", "abseta"), MUON_PT, MUON_ETA, value), name,
            f"{MARK} Scale factor of {what}, in pT (GeV) and |eta|: {size}.",
        )
        for name, (what, size, value) in kinds.items()
    ]  # fmt: skip
    write_corrections(folder / "muon.json", made, f"Scale factors of muons. {MARK}")


def make_shape(folder: Path, _: argparse.Namespace) -> None:
    """Write ``shape.json``."""

    def momentum(pt: Values, eta: Values) -> tuple[Values, Values]:
        return 1.0005 + np.where(eta >= 0.9, 0.0005, 0.0), 0.001 + 0.001 * (eta >= 0.9) + 0.001 * (pt >= 20.0)

    significance = np.array([0.97, 0.98, 0.98, 0.99, 0.99])
    grid = Grid(("pt",), (SHAPE_PT,), significance, significance + 0.02, significance - 0.02)
    made = [
        to_correction(
            _map(("pt", "abseta"), SHAPE_PT, SHAPE_ETA, momentum), "muon_pt_scale",
            f"{MARK} Factor for a muon's pT, in pT (GeV) and |eta|: half to one per mille, errors of one to three.",
        ),
        to_correction(
            grid, "muon_ips_scale",
            f"{MARK} Factor for a muon's impact-parameter significance, in pT (GeV): 1 to 3% below 1, errors of 2%.",
        ),
    ]  # fmt: skip
    write_corrections(folder / "shape.json", made, f"Scales of a muon's pT and impact-parameter significance. {MARK}")


def _pileup(text: str) -> tuple[str, float, float]:
    name, simulated, data = text.split(":")
    return name, float(simulated), float(data)


def main() -> None:
    """Make the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files go; those that are there are replaced")
    parser.add_argument("--only", nargs="+", choices=FILES, default=FILES, help="leave the folder's others as they are")
    parser.add_argument(
        "--pileup", nargs="+", type=_pileup, metavar="NAME:SIMULATED:DATA",
        default=[("pileup_weight", 3.0, 3.3), ("pileup_weight_data_like", 30.0, 33.0)],
        help="names of the weights and mean numbers of interactions",
    )  # fmt: skip
    parser.add_argument("--events", type=int, default=60_000, help="simulated for the trigger's efficiency")
    parser.add_argument("--seed", type=int, default=20261, help="of the simulation")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.folder.mkdir(parents=True, exist_ok=True)
    makers = {"pileup": make_pileup, "trigger": make_trigger, "muon": make_muon, "shape": make_shape}
    for name in options.only:
        (options.folder / f"{name}.json").unlink(missing_ok=True)
        makers[name](options.folder, options)


if __name__ == "__main__":
    main()
