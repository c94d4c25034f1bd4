"""hnl.select against an independent selection written with uproot, awkward and numpy."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import uproot

from hnl import select as step_module
from hnl.select import CANDIDATE_COLUMNS, SELECTIONS, TRIGGER_PATHS, select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = pytest.importorskip("ROOT")

HEADER = Path(step_module.__file__).parent / "include" / "selection.h"
GENERATOR = ("C_mu_Ds_isHnlBrother", "C_mu_Hnl_isHnlDaughter", "C_pi_isHnlDaughter")
CUTS = {  # sign, Lxy range, significance, pion ip, muon ips: typed in again, not imported
    "SSlxy0to1": (1, 0.0, 1.0, 35.3, 0.03, 2.8),
    "SSlxy1to5": (1, 1.0, 5.0, 107.0, 0.03, 2.6),
    "SSlxy5toInf": (1, 5.0, np.inf, 191.8, 0.03, 3.0),
    "OSlxy0to1": (-1, 0.0, 1.0, 38.2, 0.05, 3.5),
    "OSlxy1to5": (-1, 1.0, 5.0, 120.5, 0.03, 2.2),
    "OSlxy5toInf": (-1, 5.0, np.inf, 255.0, 0.03, 3.4),
}
CPP = {"f": "float", "i": "int", "h": "short", "I": "unsigned int"}


@dataclass
class StandIn:
    """What a step reads from a sample."""

    name: str = "sample"
    kind: str = "data"
    cross_section: float | None = None
    filter_efficiency: float = 1.0
    processed_events: int | None = None
    luminosity: float | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


def candidate_type(name: str) -> str:
    if name.endswith("_idx"):
        return "I"
    if name.endswith("_charge"):
        return "i"
    return "h" if "_is" in name else "f"


def make_events(n_events: int, seed: int) -> list[dict[str, Any]]:
    """Random events that reach every branch: no candidate, no trigger muon, one listed twice, values on the cut edges,
    exact ties, distances of zero, and scores that are not a number."""
    rng = np.random.default_rng(seed)
    choices: dict[str, tuple[Any, None]] = {
        "C_mu_Ds_pt": (np.float32([7.5, 7.6, 8, 9, 12]), None),
        "C_mu_Ds_eta": (np.float32([-1.45, -1.2, 0, 0.5, 1.4]), None),
        "C_Ds_mass": (np.float32([1.96835, 1.9683, 1.9684, 1.5, 2.2, np.nan]), None),
        "C_Hnl_vertex_2DDist_BS": (np.float32([0, 0.5, 1, 3, 5, 20]), None),
        "C_Hnl_vertex_2DSig_BS": (np.float32([35.3, 38.2, 107, 120.5, 191.8, 255, 300, 350, 400]), None),
        "C_pi_BS_ip_xy": (np.float32([-0.06, 0.03, -0.03, 0.05, 0.051, 0.2]), None),
        "C_mu_Hnl_BS_ips_xy": (np.float32([2.2, 2.6, 2.8, 3, 3.4, 3.5, 8, 9, 10, 11]), None),
        "C_Hnl_vertex_cos2D": (np.float32([-0.9, -0.1, 0, 0.5, 1]), None),
        "C_Ds_vertex_3DDist_PV": (np.float32([0, 0.1, 0.2, 1]), None),
        "C_Hnl_vertex_3DDist_PV": (np.float32([0, 0.4, 2]), None),
    }
    choices["C_mu_Hnl_pt"], choices["C_mu_Hnl_eta"] = choices["C_mu_Ds_pt"], choices["C_mu_Ds_eta"]
    events = []
    for number in range(n_events):
        n_candidates = int(rng.choice([0, 1, 2, 3, 12], p=[0.1, 0.1, 0.1, 0.2, 0.5]))
        n_trigger = int(rng.choice([0, 1, 3], p=[0.05, 0.35, 0.6]))
        event: dict[str, Any] = {"nCand": n_candidates, "nPV": int(rng.integers(60)), "nPU_trueInt": 20}
        event |= {"run": 316_000, "lumi": 7 + number // 100, "event": number - n_events // 2}
        for name in (*CANDIDATE_COLUMNS, *GENERATOR, "C_Hnl_gen_l", "C_Hnl_gen_l_prop"):
            kind = candidate_type(name)
            if name in choices:
                values = rng.choice(choices[name][0], n_candidates)
            elif kind == "I":
                values = rng.integers(0, 4, n_candidates)
            elif kind == "i":
                values = rng.choice([-1, 1], n_candidates)
            elif kind == "h":
                values = rng.choice([0, 1], n_candidates, p=[0.2, 0.8])
            else:
                values = rng.normal(1, 2, n_candidates).astype(np.float32)
            event[name] = values
        event["HLT_mu_trig_idx"] = rng.integers(0, 4, n_trigger)
        for path in TRIGGER_PATHS:
            event[f"HLT_{path}_matched"] = rng.choice([0, 1], n_trigger, p=[0.5, 0.5])
            event[f"HLT_{path}_pt"] = rng.choice(np.float32([5, 7.5, 8, 9.5]), n_trigger)
            event[f"HLT_{path}_dr"] = rng.choice(np.float32([0.01, 0.02, 0.05, 0.2]), n_trigger)
        events.append(event)
    return events


def write_events(path: Path, events: list[dict[str, Any]], columns: Callable[[str], bool] = lambda name: True) -> Path:
    """Write `events` as the collaboration does: int32 event, float32 lumi, std::vector columns."""
    with ROOT.TFile(str(path), "RECREATE"):
        tree = ROOT.TTree("wztree", "")
        buffers: dict[str, Any] = {}
        for name in filter(columns, events[0]):
            if name.startswith(("C_", "HLT_")):
                code = {"HLT_mu_trig_idx": "I"}.get(name, "h" if name.endswith("matched") else candidate_type(name))
                buffers[name] = ROOT.std.vector[CPP[code]]()
                tree.Branch(name, buffers[name])
            else:
                code = "f" if name == "lumi" else "i"
                buffers[name] = array(code, [0])
                tree.Branch(name, buffers[name], f"{name}/{code.upper()}")
        for event in events:
            for name, buffer in buffers.items():
                if isinstance(buffer, array):
                    buffer[0] = event[name]
                else:
                    buffer.clear()
                    for value in event[name]:
                        buffer.push_back(value.item())
            tree.Fill()
        tree.Write()
    return path


def run(path: Path, output: Path, sample: StandIn, **options: Any) -> tuple[ak.Array, dict[str, Any]]:
    """Run the step and give the tree it writes, and its other products."""
    ROOT.gInterpreter.Declare(f'#include "{HEADER}"')
    products = select(Redirect(ROOT.RDataFrame("wztree", str(path)), output), sample, **options)
    products.pop("candidates").GetValue()
    if not output.exists():  # ROOT writes no file when no entry is left
        return ak.Array([]), products
    with uproot.open(output) as file:
        return file["candidates"].arrays(), products


class Redirect:
    """A node whose Snapshot is lazy and goes to a chosen RNTuple file, as within portico."""

    def __init__(self, node: Any, output: Path) -> None:
        self._node, self._output = node, output

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    def _wrap(self, node: Any) -> Redirect:
        return Redirect(node, self._output)

    def Define(self, *arguments: Any) -> Redirect:
        return self._wrap(self._node.Define(*arguments))

    def Redefine(self, *arguments: Any) -> Redirect:
        return self._wrap(self._node.Redefine(*arguments))

    def Filter(self, *arguments: Any) -> Redirect:
        return self._wrap(self._node.Filter(*arguments))

    def Snapshot(self, tree: str, _file: str, columns: list[str]) -> Any:
        options = ROOT.RDF.RSnapshotOptions()
        options.fLazy = True
        options.fOutputFormat = ROOT.RDF.ESnapshotOutputFormat.kRNTuple
        return self._node.Snapshot(tree, str(self._output), columns, options)


def reference_masks(events: ak.Array) -> dict[str, ak.Array]:
    """Candidates that pass each selection."""
    fired = ak.zeros_like(events.C_mu_Ds_pt, dtype=bool)
    for muon in ("C_mu_Ds", "C_mu_Hnl"):
        index, pt, eta = (events[f"{muon}_{name}"] for name in ("idx", "pt", "eta"))
        same = index[:, :, np.newaxis] == events.HLT_mu_trig_idx[:, np.newaxis, :]
        for path in TRIGGER_PATHS:
            matched, trigger_pt, dr = (events[f"HLT_{path}_{name}"] for name in ("matched", "pt", "dr"))
            hit = same & (matched > 0)[:, np.newaxis, :]
            last = ak.max(ak.mask(ak.local_index(hit), hit), axis=-1)
            close = (dr[last] < 0.05) & (abs(trigger_pt[last] - pt) / pt < 0.1)
            fired = fired | (ak.fill_none(close, False) & (pt > 7.5) & (abs(eta) < np.float64(1.45)))
    inclusive = fired & (events.C_mu_Ds_isSoft > 0) & (events.C_mu_Hnl_isSoft > 0)
    masks = {"inclusive": inclusive}
    lxy, product = events.C_Hnl_vertex_2DDist_BS, events.C_mu_Ds_charge * events.C_mu_Hnl_charge
    for name, (sign, low, high, significance, pion, muon_ips) in CUTS.items():
        masks[name] = (
            inclusive
            & (product == sign)
            & (lxy >= low)
            & (lxy < high)
            & (ak.values_astype(events.C_Hnl_vertex_2DSig_BS, np.float64) > significance)
            & (ak.values_astype(abs(events.C_pi_BS_ip_xy), np.float64) > pion)
            & (ak.values_astype(events.C_mu_Hnl_BS_ips_xy, np.float64) > muon_ips)
        )
    return masks


def reference_choice(events: ak.Array, rule: str, *, signal: bool) -> dict[tuple[int, int], int]:
    """(entry, selection) -> index of the chosen candidate."""
    chosen = {}
    masks = reference_masks(events)
    needed = ("C_Ds_mass", *(f"C_{n}_vertex_{v}" for n in ("Ds", "Hnl") for v in ("3DDist_PV", "cos2D", "prob")))
    starts = np.concatenate([[0], np.cumsum(ak.num(events.C_Ds_mass))])
    flat = {name: ak.to_numpy(ak.flatten(events[name])) for name in needed}
    matched = (events.C_mu_Ds_isHnlBrother > 0) & (events.C_mu_Hnl_isHnlDaughter > 0) & (events.C_pi_isHnlDaughter > 0)
    for number, name in enumerate(SELECTIONS):
        for entry, mask in enumerate(masks[name]):
            candidates = np.flatnonzero(mask)
            if not len(candidates) or (signal and not ak.any(matched[entry])):
                continue
            rows = starts[entry] + candidates
            here = {name: values[rows] for name, values in flat.items()}
            if rule == "mass":
                score = -np.abs(here["C_Ds_mass"].astype(np.float64) - 1.96835).astype(np.float32)
            elif rule == "distance_ratio":
                with np.errstate(all="ignore"):
                    score = here["C_Hnl_vertex_3DDist_PV"] / here["C_Ds_vertex_3DDist_PV"]
                forward = here["C_Hnl_vertex_cos2D"] >= 0
                if forward.any():
                    candidates, score = candidates[forward], score[forward]
            else:
                what = {"cosine": "cos2D", "probability": "prob"}[rule]
                score = here[f"C_Hnl_vertex_{what}"] * here[f"C_Ds_vertex_{what}"]
            best = int(candidates[np.argmax(np.where(np.isnan(score), -np.inf, score))])
            if not signal or matched[entry][best]:
                chosen[entry, number] = best
    return chosen


@pytest.fixture(scope="module")
def ntuple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_events(tmp_path_factory.mktemp("ntuple") / "wztree.root", make_events(400, seed=11))


@pytest.fixture(scope="module")
def events(ntuple: Path) -> Iterator[ak.Array]:
    with uproot.open(ntuple) as file:
        yield file["wztree"].arrays()


@pytest.mark.parametrize("kind", ["data", "signal"])
@pytest.mark.parametrize("rule", ["mass", "distance_ratio", "cosine", "probability"])
def test_same_candidate_in_every_event(ntuple: Path, events: ak.Array, tmp_path: Path, rule: str, kind: str) -> None:
    tree, products = run(ntuple, tmp_path / "out.root", StandIn(kind=kind), rule=rule)
    expected = reference_choice(events, rule, signal=kind == "signal")
    entry_of = {int(np.uint32(np.int32(number))): n for n, number in enumerate(events.event)}
    entries = [entry_of[number] for number in tree.event.to_list()]
    found = {
        (entry, selection): index
        for entry, selections, indices in zip(entries, tree.selection.to_list(), tree.chosen.to_list(), strict=True)
        for selection, index in zip(selections, indices, strict=True)
    }
    assert found == expected
    assert entries == sorted({entry for entry, _ in expected})
    counts = [sum(selection == number for _, selection in expected) for number in range(len(SELECTIONS))]
    assert [products["selected"].GetBinContent(bin_) for bin_ in range(1, len(SELECTIONS) + 1)] == counts
    assert min(counts) > 0, "the synthetic events must reach every category"
    for name in CANDIDATE_COLUMNS:
        values = events[name][entries][tree.chosen]
        np.testing.assert_array_equal(ak.to_numpy(ak.flatten(tree[name])), ak.to_numpy(ak.flatten(values)), name)


def test_selections_of_one_event_choose_different_candidates(events: ak.Array) -> None:
    chosen = reference_choice(events, "mass", signal=False)
    assert any(index != chosen[entry, 0] for (entry, _), index in chosen.items())


def test_cutflow_and_multiplicity(ntuple: Path, events: ak.Array, tmp_path: Path) -> None:
    tree, products = run(ntuple, tmp_path / "out.root", StandIn(kind="signal"))
    cutflow = {cut.GetName(): (cut.GetAll(), cut.GetPass()) for cut in products["cutflow"].GetValue()}
    assert list(cutflow) == ["generator matched", "trigger", "preselection", "best candidate"]
    matched = (events.C_mu_Ds_isHnlBrother > 0) & (events.C_mu_Hnl_isHnlDaughter > 0) & (events.C_pi_isHnlDaughter > 0)
    any_matched = ak.any(matched, axis=1)
    inclusive = reference_masks(events)["inclusive"]
    assert cutflow["generator matched"] == (len(events), ak.sum(any_matched))
    assert cutflow["preselection"][1] == ak.sum(any_matched & ak.any(inclusive, axis=1))
    assert cutflow["best candidate"][1] == len(tree)
    number = ak.flatten(tree.multiplicity[tree.selection == 0])
    entry_of = {int(np.uint32(np.int32(event))): n for n, event in enumerate(events.event)}
    rows = [entry_of[event] for event in tree.event[ak.any(tree.selection == 0, axis=1)].to_list()]
    assert number.to_list() == ak.sum(inclusive[rows], axis=1).to_list()
    assert products["multiplicity"].GetEntries() == ak.count(tree.selection)


def test_numbers_of_the_event_are_unsigned(ntuple: Path, events: ak.Array, tmp_path: Path) -> None:
    tree, _ = run(ntuple, tmp_path / "out.root", StandIn())
    assert tree.event.type.content.primitive == "uint64"
    assert tree.lumi.type.content.primitive == tree.run.type.content.primitive == "uint32"
    assert ak.min(events.event) < 0
    assert ak.max(tree.event) > 2**31
    assert set(tree.event.to_list()) <= {int(np.uint32(np.int32(event))) for event in events.event}


def test_derived_variables(ntuple: Path, events: ak.Array, tmp_path: Path) -> None:
    tree, _ = run(ntuple, tmp_path / "out.root", StandIn())
    px, py, pz = (np.float64(ak.to_numpy(ak.flatten(tree[f"C_Hnl_p{axis}"]))) for axis in "xyz")
    momentum = ak.to_numpy(ak.flatten(tree.C_Hnl_p))
    np.testing.assert_array_equal(momentum, np.sqrt(px**2 + py**2 + pz**2).astype(np.float32))
    length = ak.flatten(tree.C_Hnl_vertex_3DDist_PV * tree.C_Hnl_mass / tree.C_Hnl_p)
    np.testing.assert_allclose(ak.to_numpy(ak.flatten(tree.C_Hnl_l_prop)), ak.to_numpy(length), rtol=1e-6)


def test_data_without_generator_columns(tmp_path: Path) -> None:
    path = write_events(tmp_path / "data.root", make_events(30, seed=3), lambda name: "gen" not in name[:10]
                        and name not in GENERATOR and name != "nPU_trueInt")  # fmt: skip
    tree, _ = run(path, tmp_path / "out.root", StandIn())
    assert len(tree) > 0
    assert not set(GENERATOR) & set(tree.fields)
    with pytest.raises(ValueError, match="lacks columns that select needs: C_mu_Hnl_isHnlDaughter"):
        run(path, tmp_path / "out.root", StandIn(kind="signal"))


def test_missing_trigger_path(tmp_path: Path) -> None:
    events = make_events(60, seed=4)
    path = write_events(tmp_path / "wztree.root", events, lambda name: not name.startswith("HLT_mu12_ip6"))
    with pytest.raises(ValueError, match=r"HLT_mu12_ip6_matched.*missing_paths: skip"):
        run(path, tmp_path / "no.root", StandIn())
    skipped, _ = run(path, tmp_path / "skipped.root", StandIn(), missing_paths="skip")
    left_out, _ = run(path, tmp_path / "left_out.root", StandIn(), paths=TRIGGER_PATHS[:-1])
    for event in events:
        event["HLT_mu12_ip6_matched"] = 0 * event["HLT_mu12_ip6_matched"]
    never_fired, _ = run(write_events(tmp_path / "never.root", events), tmp_path / "never_out.root", StandIn())
    assert len(skipped) > 0
    assert skipped.chosen.to_list() == left_out.chosen.to_list() == never_fired.chosen.to_list()


def test_events_without_candidates_are_dropped(tmp_path: Path) -> None:
    events = [event for event in make_events(300, seed=5) if event["nCand"] == 0]
    tree, products = run(write_events(tmp_path / "wztree.root", events), tmp_path / "out.root", StandIn())
    assert len(tree) == 0
    assert products["selected"].GetEntries() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "heaviest"}, "the rules are mass, distance_ratio"),
        ({"missing_paths": "maybe"}, "it is 'error' or 'skip'"),
        ({"paths": ["mu6"]}, "mu6 are unknown; known are mu7_ip4"),
        ({"paths": []}, "none of the trigger paths"),
    ],
)
def test_wrong_options(ntuple: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(ntuple, tmp_path / "out.root", StandIn(), **options)


def test_score_of_mass_is_compared_in_float32_and_ties_go_to_the_lowest_index() -> None:
    ROOT.gInterpreter.Declare(f'#include "{HEADER}"')
    rvec = ROOT.VecOps.RVec
    masses = np.float32([1.5, 1.96835 + 2**-10, 1.96835 + 2**-10])
    score = ROOT.hnl.mass_score(rvec["float"](masses.tolist()), 1.96835)
    assert np.asarray(score).dtype == np.float32
    bits = rvec["unsigned int"]([1, 1, 1])
    assert list(ROOT.hnl.best(bits, score, 2)) == [1, -1]
