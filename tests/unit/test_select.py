"""hnl.select against an independent selection written with uproot, awkward and numpy."""

from __future__ import annotations

import warnings
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import correctionlib
import numpy as np
import pytest
import uproot

from hnl.constants import TRIGGER_PATHS
from hnl.select import FOLDER
from hnl.skim import CANDIDATE_COLUMNS
from portico import root
from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.config import parse
from portico.errors import ConfigError, PorticoWarning, StepError
from portico.results.view import Results
from portico.selection import Selection, book, event_weight, load_selection, resolve
from portico.selection.loop import Loop
from portico.worker.frame import run_chunk
from portico.worker.runner import _hear
from tests import choices as reference
from tests.choices import RULES, SELECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = root.load()
GENERATOR = ("C_mu_Ds_isHnlBrother", "C_mu_Hnl_isHnlDaughter", "C_pi_isHnlDaughter")
CLUSTER = 37
CPP = {"f": "float", "i": "int", "h": "short", "I": "unsigned int"}


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
        pile_up = int(rng.integers(0, 80))
        event: dict[str, Any] = {"nCand": n_candidates, "nPV": int(rng.integers(60)), "nPU_trueInt": pile_up}
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
            # a mu pi pair has a mass of at least 0.245 GeV
            event[name] = np.maximum(np.abs(values), np.float32(0.25)) if name == "C_Hnl_mass" else values
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
        tree.SetAutoFlush(CLUSTER)
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


def run(
    path: Path, folder: Path, sample: Sample, selection: Selection, *, of_node: bool = False,
    entries: tuple[int, int] | None = None,
) -> tuple[ak.Array, Results]:  # fmt: skip
    """Run a selection over a file through portico's own door; return the tree it writes, and its products.

    With ``of_node`` it is booked on a node below the frame of the chunk, from which only RDataFrame can read.
    """
    root.load().gInterpreter.Declare(f'#include "{FOLDER / "include" / "trigger.h"}"')
    folder.mkdir(exist_ok=True)
    with uproot.open(path) as file:
        first, last = entries or (0, file["wztree"].num_entries)

    def step(frame: Any, sample: Sample) -> dict[str, Any]:
        node = frame.Define("one", "1") if of_node else frame
        return book(selection, node, sample, folder=FOLDER, where="selection.yaml")

    products, timing = run_chunk(step, Chunk(str(path), "", "wztree", first, last), sample, {}, folder)
    assert timing.loops == 1
    (written,) = products["candidates"].items
    with uproot.open(written["path"]) as file:
        return file["candidates"].arrays(), Results(sample.name, products)


def declared(**fields: Any) -> Selection:
    """The selection of the analysis without weights and shapes, and with other fields."""
    return full().replace(**{"weights": {}, "shapes": {}, **fields})


def full() -> Selection:
    return load_selection(FOLDER / "selection.yaml", switch={"weights": True, "shapes": True})


def few() -> dict[str, Any]:
    """One histogram of each kind, and a tree with a column of each type: all of them take long to compile."""
    names = {"C_Hnl_mass", "C_mu_{muon}_pt", "nPV", "nPU_trueInt"}
    kept = [h for h in full().model_dump(exclude_unset=True)["histograms"] if h.get("name", h["column"]) in names]
    assert len(kept) == len(names)
    columns = ["nPV", "C_Ds_mass", "C_Hnl_l_prop", "C_mu_Ds_idx", "C_mu_Ds_charge", "C_mu_Ds_isSoft"]
    return {"histograms": kept, "output": {"columns": columns}}


TREE_ONLY: dict[str, Any] = {"histograms": [], "output": {"columns": ["C_Ds_mass"]}}


def first(rule: str) -> dict[str, Any]:
    """The rules with another one in front."""
    rules = declared().model_dump()["rules"]
    return {rule: rules.pop(rule), **rules}


@pytest.fixture(scope="module")
def ntuple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_events(tmp_path_factory.mktemp("ntuple") / "wztree.root", make_events(400, seed=11))


@pytest.fixture(scope="module")
def events(ntuple: Path) -> Iterator[ak.Array]:
    with uproot.open(ntuple) as file:
        yield file["wztree"].arrays()


def sample_of(kind: str) -> Sample:
    numbers = {} if kind == "data" else {"cross_section": 2.0, "luminosity": 0.003, "processed_events": 400.0}
    return Sample(name="sample", kind=kind, **numbers)


@pytest.fixture(scope="module", params=["data", "signal"])
def chosen(
    request: pytest.FixtureRequest, ntuple: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ak.Array, Results]:
    """All four rules in one pass."""
    selection = declared(histograms=[])
    tree, results = run(ntuple, tmp_path_factory.mktemp("out"), sample_of(request.param), selection)
    return request.param, tree, results


def entries_of(tree: ak.Array, events: ak.Array) -> list[int]:
    entry_of = {int(np.uint32(np.int32(number))): n for n, number in enumerate(events.event)}
    return [entry_of[number] for number in tree.event.to_list()]


def choices_of(tree: ak.Array, entries: list[int], suffix: str = "") -> dict[tuple[int, int], int]:
    return {
        (entry, selection): index
        for entry, selections, indices in zip(
            entries, tree[f"selection{suffix}"].to_list(), tree[f"chosen{suffix}"].to_list(), strict=True
        )
        for selection, index in zip(selections, indices, strict=True)
    }


def test_same_candidate_in_every_event_by_every_rule(chosen: tuple[str, ak.Array, Results], events: ak.Array) -> None:
    kind, tree, results = chosen
    entries = entries_of(tree, events)
    everything = set()
    for rule in RULES:
        expected = reference.choice(events, rule, signal=kind == "signal")
        everything |= {entry for entry, _ in expected}
        assert choices_of(tree, entries, "" if rule == "mass" else f"_{rule}") == expected, rule
        counts = [sum(selection == number for _, selection in expected) for number in range(len(SELECTIONS))]
        assert min(counts) > 0, "the synthetic events must reach every category"
        right = results[f"correct_{rule}"] if kind == "signal" else results[f"choices_{rule}"]
        np.testing.assert_allclose(right.values() / event_weight(sample_of(kind)), counts, rtol=1e-12)
    assert entries == sorted(everything)


def test_every_column_is_of_the_chosen_candidate(chosen: tuple[str, ak.Array, Results], events: ak.Array) -> None:
    _, tree, _ = chosen
    entries = entries_of(tree, events)
    carried = [name for name in tree.fields if name in events.fields and name.startswith("C_")]
    assert len(carried) > 70
    for name in carried:
        values = events[name][entries][tree.chosen]
        np.testing.assert_array_equal(ak.to_numpy(ak.flatten(tree[name])), ak.to_numpy(ak.flatten(values)), name)
    assert set(ak.to_numpy(ak.flatten(tree.weight))) == {event_weight(sample_of(chosen[0]))}


@pytest.mark.parametrize(
    "rule",
    ["mass", *(pytest.param(rule, marks=pytest.mark.full) for rule in ("distance_ratio", "cosine", "probability"))],
)
def test_same_histograms_by_every_rule(ntuple: Path, events: ak.Array, tmp_path: Path, rule: str) -> None:
    """All of the analysis for one rule, a few for the others; contents and squared weights."""
    kept = [h.model_dump(exclude_unset=True) for h in declared().histograms]
    kept = kept if rule == "mass" else [h for h in kept if h["column"] in {"C_Ds_mass", "nPV", "C_pi_BS_ips_xy"}]
    kind = "background"
    _, results = run(ntuple, tmp_path / "out", sample_of(kind), declared(rules=first(rule), histograms=kept))
    expected = reference.choice(events, rule, signal=False)
    weight = event_weight(sample_of(kind))
    momentum = np.sqrt(sum(ak.values_astype(events[f"C_Hnl_p{axis}"], np.float64) ** 2 for axis in "xyz"))
    length = events.C_Hnl_vertex_3DDist_PV * events.C_Hnl_mass / momentum
    events = ak.with_field(events, length, "C_Hnl_l_prop")
    checked = 0
    for product in results:
        selection, _, name = product.partition("_")
        column = name.removesuffix("_fine") if name.startswith("n") else f"C_{name.removesuffix('_fine')}"
        if selection not in SELECTIONS or not column:
            continue
        rows = [(entry, index) for (entry, s), index in expected.items() if SELECTIONS[s] == selection]
        values = [events[column][entry] for entry, _ in rows]
        if column.startswith("C_"):
            values = [candidates[index] for candidates, (_, index) in zip(values, rows, strict=True)]
        histogram = results[product]
        numbers = np.asarray(values, np.float64)
        numbers[np.isnan(numbers)] = np.inf  # as ROOT does: into the overflow
        axis = histogram.axes[0]
        edges = np.linspace(axis.edges[0], axis.edges[-1], axis.size + 1)
        counts, _ = np.histogram(numbers, [-np.inf, *edges, np.inf])
        np.testing.assert_allclose(histogram.values(flow=True), weight * counts, rtol=1e-12, err_msg=product)
        np.testing.assert_allclose(histogram.variances(flow=True), weight**2 * counts, rtol=1e-12, err_msg=product)
        checked += 1
    assert checked == len(SELECTIONS) * (len({*_names(kept)}))


def _names(kept: list[dict[str, Any]]) -> list[str]:
    both = ("Ds", "Hnl")
    return [h.get("name", h["column"]).replace("{muon}", m) for h in kept for m in (both if "each" in h else ("",))]


def test_an_event_is_in_one_category(chosen: tuple[str, ak.Array, Results], events: ak.Array) -> None:
    kind, tree, results = chosen
    for suffix in ("", *(f"_{rule}" for rule in RULES[1:])):
        assert ak.all(ak.num(tree[f"selection{suffix}"]) % 2 == 0)
        assert set(ak.to_numpy(ak.sum(tree[f"selection{suffix}"] > 0, axis=1))) <= {0, 1}
        assert ak.all(tree[f"chosen{suffix}"] == ak.firsts(tree[f"chosen{suffix}"]))
    counts = [results[f"cutflow_{name}"].passed[-1] for name in SELECTIONS]
    assert sum(counts[1:]) == counts[0] > 0
    assert sum(counts[1:]) < len(reference.choice_per_category(events, "mass", signal=kind == "signal")) - counts[0]


@pytest.mark.parametrize("inclusive", ["preselection", "categories"])
def test_every_category_may_choose_for_itself(ntuple: Path, events: ak.Array, tmp_path: Path, inclusive: str) -> None:
    """Then an event may be in several; what ``inclusive`` chooses among does not depend on it."""
    kind = {"preselection": "signal", "categories": "data"}[inclusive]
    selection = declared(choose="per category", inclusive=inclusive, **TREE_ONLY)
    tree, _ = run(ntuple, tmp_path / "out", sample_of(kind), selection)
    entries = entries_of(tree, events)
    for rule in RULES:
        expected = reference.choice_per_category(events, rule, signal=kind == "signal")
        if inclusive == "categories":
            together = reference.choice(events, rule, signal=kind == "signal")
            expected = {key: best for key, best in expected.items() if key[1]}
            expected |= {key: best for key, best in together.items() if not key[1]}
        assert choices_of(tree, entries, "" if rule == "mass" else f"_{rule}") == expected, rule
        several = [entry for entry, number in expected if number]
        assert len(several) > len(set(several))


def test_a_candidate_in_two_categories_counts_in_the_first(ntuple: Path, tmp_path: Path) -> None:
    categories = {"all": {"any": "true"}, "near": {"Lxy": "C_Hnl_vertex_2DDist_BS < 1"}}
    fields = {**TREE_ONLY, "rules": {"mass": declared().rules["mass"].model_dump()}}
    both = declared(categories=categories, inclusive="preselection", **fields)
    first, _ = run(ntuple, tmp_path / "first", sample_of("data"), both)
    assert {tuple(row) for row in first.selection.to_list()} == {(0, 1)}
    swapped = dict(reversed(categories.items()))
    second, _ = run(ntuple, tmp_path / "second", sample_of("data"), both.replace(categories=swapped))
    assert {tuple(row) for row in second.selection.to_list()} == {(0, 1), (0, 2)}
    assert second.chosen.to_list() == first.chosen.to_list()


def test_cutflow_and_multiplicity(chosen: tuple[str, ak.Array, Results], events: ak.Array) -> None:
    kind, tree, results = chosen
    if kind == "data":
        assert results["cutflow"].cuts == ("trigger", "soft muons", "best candidate")
        return
    cutflow = results["cutflow"]
    assert cutflow.cuts == ("generator matched", "trigger", "soft muons", "best candidate")
    matched = (events.C_mu_Ds_isHnlBrother > 0) & (events.C_mu_Hnl_isHnlDaughter > 0) & (events.C_pi_isHnlDaughter > 0)
    any_matched = ak.any(matched, axis=1)
    masks = reference.masks(events)
    assert cutflow.passed[0] == ak.sum(any_matched)
    assert cutflow.passed[2] == ak.sum(any_matched & ak.any(masks["inclusive"], axis=1))
    assert cutflow.passed[3] == len(tree)
    assert results["cutflow_inclusive"].cuts == (*cutflow.cuts[:-1], "any category", "best candidate")
    of_categories = np.stack([ak.to_numpy(ak.flatten(masks[name])) for name in SELECTIONS[1:]])
    masks["inclusive"] = ak.unflatten(of_categories.any(axis=0), ak.num(events.C_Ds_mass))
    rows = [entry for entry, made in zip(entries_of(tree, events), tree.selection.to_list(), strict=True) if 0 in made]
    number = ak.flatten(tree.multiplicity[tree.selection == 0])
    assert number.to_list() == ak.sum(masks["inclusive"][rows], axis=1).to_list()
    for name in SELECTIONS:
        flow = results[f"cutflow_{name}"]
        assert flow.cuts[-1] == "best candidate"
        assert flow.reached[0] == len(events)
        assert flow.passed[-2] == ak.sum(any_matched & ak.any(masks[name], axis=1))
        assert flow.passed[-1] == ak.count(tree.selection[tree.selection == SELECTIONS.index(name)])
        weight = event_weight(sample_of(kind))
        counts = np.array([flow.reached[0], *flow.passed])
        np.testing.assert_allclose(flow.yields, counts * weight, rtol=1e-12)
        np.testing.assert_allclose(flow.uncertainties, np.sqrt(counts) * weight, rtol=1e-12)
        assert results[f"candidates_{name}"].sum(flow=True).value == pytest.approx(flow.yields[-1])


def test_numbers_of_the_event_are_unsigned(chosen: tuple[str, ak.Array, Results], events: ak.Array) -> None:
    _, tree, _ = chosen
    assert tree.event.type.content.primitive == "uint64"
    assert tree.lumi.type.content.primitive == tree.run.type.content.primitive == "uint32"
    assert ak.min(events.event) < 0
    assert ak.max(tree.event) > 2**31
    assert set(tree.event.to_list()) <= {int(np.uint32(np.int32(event))) for event in events.event}


def test_derived_variables(chosen: tuple[str, ak.Array, Results]) -> None:
    _, tree, _ = chosen
    px, py, pz = (np.float64(ak.to_numpy(ak.flatten(tree[f"C_Hnl_p{axis}"]))) for axis in "xyz")
    length = np.float32(ak.to_numpy(ak.flatten(tree.C_Hnl_vertex_3DDist_PV * tree.C_Hnl_mass)))
    found = ak.to_numpy(ak.flatten(tree.C_Hnl_l_prop))
    np.testing.assert_allclose(found, length / np.sqrt(px**2 + py**2 + pz**2), rtol=1e-6)


def test_data_without_generator_columns(tmp_path: Path) -> None:
    path = write_events(tmp_path / "data.root", make_events(30, seed=3), lambda name: "gen" not in name[:10]
                        and name not in GENERATOR and name != "nPU_trueInt")  # fmt: skip
    tree, _ = run(path, tmp_path / "out", sample_of("data"), declared(histograms=[]))
    assert len(tree) > 0
    assert not set(GENERATOR) & set(tree.fields)
    message = r"match.candidate.*'C_mu_Ds_isHnlBrother' is not a column of sample 'sample' \(signal"
    with pytest.raises(ConfigError, match=message):
        run(path, tmp_path / "out", sample_of("signal"), declared())


def test_missing_trigger_path(tmp_path: Path) -> None:
    events = make_events(60, seed=4)
    path = write_events(tmp_path / "wztree.root", events, lambda name: not name.startswith("HLT_mu12_ip6"))
    with pytest.raises(ConfigError, match=r"define.C_trigger.*'HLT_mu12_ip6_dr' is not a column"):
        run(path, tmp_path / "no", sample_of("data"), declared())
    lists = declared().model_dump()["lists"]
    paths = lists["path"]["values"]
    skip, short = ({**lists, "path": p} for p in ({"values": paths, "missing": "skip"}, paths[:-1]))
    skipped, _ = run(path, tmp_path / "skipped", sample_of("data"), declared(**TREE_ONLY, lists=skip))
    left_out, _ = run(path, tmp_path / "left_out", sample_of("data"), declared(**TREE_ONLY, lists=short))
    for event in events:
        event["HLT_mu12_ip6_matched"] = 0 * event["HLT_mu12_ip6_matched"]
    never = write_events(tmp_path / "never.root", events)
    never_fired, _ = run(never, tmp_path / "never", sample_of("data"), declared(**TREE_ONLY))
    assert len(skipped) > 0
    assert skipped.chosen.to_list() == left_out.chosen.to_list() == never_fired.chosen.to_list()


@pytest.mark.parametrize("chosen", ["data"], indirect=True)
def test_both_formats_hold_the_same(ntuple: Path, chosen: tuple[str, ak.Array, Results], tmp_path: Path) -> None:
    output = declared().model_dump()["output"] | {"formats": ["rntuple", "ttree"]}
    tree, results = run(ntuple, tmp_path / "out", sample_of(chosen[0]), declared(histograms=[], output=output))
    (written,) = results.products["candidates_ttree"].items
    with uproot.open(written["path"]) as file:
        assert type(file["candidates_ttree"]).__name__.startswith("Model_TTree")
        other = file["candidates_ttree"].arrays()
    assert other.fields == tree.fields
    for name in tree.fields:
        for column in (other[name], chosen[1][name]):
            values = (ak.to_numpy(ak.flatten(array, axis=None)) for array in (column, tree[name]))
            np.testing.assert_array_equal(*values, err_msg=name)
            assert column.ndim == 1 or ak.all(ak.num(column) == ak.num(tree[name])), name


@pytest.fixture(scope="module")
def copy(request: pytest.FixtureRequest, ntuple: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The events in small clusters: in vectors, in arrays whose lengths are in other branches, as RNTuple."""
    if request.param == "vectors":
        return ntuple
    path = tmp_path_factory.mktemp("copy") / "copy.root"
    with uproot.open(ntuple) as file:
        columns = {name: file["wztree"][name].array() for name in file["wztree"].keys()}  # noqa: SIM118
    with uproot.recreate(path) as file:
        types = {name: values.type.content for name, values in columns.items()}
        if request.param == "arrays":
            made = file.mktree("wztree", types, counter_name=lambda counted: f"n{counted}")
        else:
            made = file.mkrntuple("wztree", types)
        for begin in range(0, len(columns["event"]), CLUSTER):
            made.extend({name: values[begin : begin + CLUSTER] for name, values in columns.items()})
    return path


@pytest.mark.parametrize(
    ("copy", "kind"),
    [
        ("vectors", "background"), ("RNTuple", "data"),
        *(pytest.param(*of, marks=pytest.mark.full)
          for of in (("vectors", "data"), ("arrays", "background"), ("arrays", "data"), ("RNTuple", "background"))),
    ],
    indirect=["copy"],
)  # fmt: skip
def test_a_loop_without_rdataframe_has_its_bits(
    copy: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loops: list[Any] = []
    over = Loop.over
    monkeypatch.setattr(Loop, "over", lambda *given: loops.append(over(*given)) or loops[-1])
    selection, entries = full().replace(**few()), (11, 390)
    tree, results = run(copy, tmp_path / "node", sample_of(kind), selection, of_node=True, entries=entries)
    other_tree, other = run(copy, tmp_path / "loop", sample_of(kind), selection, entries=entries)
    assert [loop is None for loop in loops] == [True, False]
    assert len(tree) > 20
    assert any("muon_pt" in name for name in results.products) == (kind == "background")
    assert {*other_tree.fields} == {*tree.fields}
    for name in tree.fields:
        assert ak.array_equal(other_tree[name], tree[name], equal_nan=True, dtype_exact=False), name
    assert other.products.keys() == results.products.keys()
    for name, product in results.products.items():
        assert other.products[name].meta == product.meta
        for key, values in product.arrays.items():
            np.testing.assert_array_equal(other.products[name].arrays[key], values, err_msg=f"{name} {key}")


def test_variations_above_are_refused(ntuple: Path) -> None:
    frame = ROOT.RDataFrame("wztree", str(ntuple)).Vary("nPV", "ROOT::RVecI{nPV, nPV + 1}", ["down", "up"], "more")
    with pytest.raises(StepError, match=r"here: a Vary above a selection .*more.*nPV.*declare variations under shapes"):
        book(declared(), frame, sample_of("data"), folder=FOLDER, where="here")


def test_events_without_candidates_are_dropped(tmp_path: Path) -> None:
    events = [event for event in make_events(300, seed=5) if event["nCand"] == 0]
    path = write_events(tmp_path / "wztree.root", events)
    tree, results = run(path, tmp_path / "out", sample_of("data"), declared(**few()))
    assert len(tree) == 0
    assert results["cutflow_inclusive"].reached == (len(events), 0, 0, 0)
    assert results["cutflow_inclusive"].passed == (0, 0, 0, 0)
    assert results["inclusive_Hnl_mass"].sum(flow=True).value == 0


# ---- weights and variations


def evaluate(file: str, name: str, *inputs: Any) -> np.ndarray:
    """A correction as correctionlib's Python has it; numbers below its bins are taken from the first."""
    correction = correctionlib.CorrectionSet.from_file(str(FOLDER / "corrections" / f"{file}.json"))[name]
    return np.asarray(correction.evaluate(*inputs), np.float64)


def per_candidate(events: ak.Array, function: Callable[..., np.ndarray], *columns: str) -> ak.Array:
    flat = [np.float64(ak.to_numpy(ak.flatten(events[name]))) for name in columns]
    return ak.unflatten(function(*flat), ak.num(events[columns[0]]))


def shaped(events: ak.Array, variation: str) -> ak.Array:
    """Events with the columns that a variation, or the nominal correction, gives."""
    name, _, direction = variation.partition(":")
    out = events
    for muon in ("C_mu_Ds", "C_mu_Hnl"):
        word = direction if name == "muon_ips" else "nominal"
        scale = per_candidate(events, lambda pt: evaluate("shape", "muon_ips_scale", pt, word), f"{muon}_pt")  # noqa: B023
        column = f"{muon}_BS_ips_xy"
        out = ak.with_field(out, ak.values_astype(events[column] * scale, np.float32), column)
        if name == "muon_pt":
            column = f"{muon}_pt"
            scale = per_candidate(
                events, lambda p, e: evaluate("shape", "muon_pt_scale", p, abs(e), direction), column, f"{muon}_eta"
            )
            out = ak.with_field(out, ak.values_astype(events[column] * scale, np.float32), column)
            if muon == "C_mu_Hnl":
                mass = events.C_Hnl_mass
                moved = np.sqrt(0.030644 + (ak.values_astype(mass * mass, np.float64) - 0.030644) * scale)
                out = ak.with_field(out, ak.values_astype(moved, np.float32), "C_Hnl_mass")
    return out


def reference_weights(events: ak.Array, variation: str) -> ak.Array:
    """Weight of every candidate, but for the normalisation."""
    name, _, direction = variation.partition(":")
    word = {key: direction if key == name else "nominal" for key in ("pileup", "trigger", "muon_id", "muon_reco")}
    pileup = evaluate("pileup", "pileup_weight", ak.to_numpy(events.nPU_trueInt), word["pileup"])
    weight = ak.ones_like(ak.values_astype(events.C_mu_Ds_pt, np.float64)) * pileup
    for muon in ("C_mu_Ds", "C_mu_Hnl"):
        pt, eta, ips = f"{muon}_pt", f"{muon}_eta", f"{muon}_BS_ips_xy"
        for factor in ("muon_id", "muon_reco"):
            weight = weight * per_candidate(
                events, lambda p, e: evaluate("muon", factor, p, abs(e), word[factor]), pt, eta  # noqa: B023
            )  # fmt: skip
        data, simulation = (
            per_candidate(
                events,
                lambda p, s: evaluate("trigger", f"trigger_efficiency_{kind}", p, np.maximum(s, 0), *words),  # noqa: B023
                pt,
                ips,
            )
            for kind, words in (("data", [word["trigger"]]), ("simulation", []))
        )
        did = reference.fired(events, muon)
        with np.errstate(all="ignore"):
            weight = weight * ak.where(did, data / simulation, (1 - data) / (1 - simulation))
    return weight


def test_weights_and_variations_are_those_of_correctionlib(tmp_path: Path) -> None:
    """Every factor and every variation of all: chosen candidates, contents and squared weights."""
    ntuple, sample = write_events(tmp_path / "wztree.root", make_events(150, seed=12)), sample_of("background")
    with uproot.open(ntuple) as file:
        events = file["wztree"].arrays()
    tree, results = run(ntuple, tmp_path / "out", sample, full().replace(**few()))
    varied = results.variations("inclusive_Hnl_mass")
    factors = ("pileup", "trigger", "muon_id", "muon_reco", "muon_pt", "muon_ips")
    assert set(varied) == {"nominal", *(f"{factor}:{word}" for factor in factors for word in ("up", "down"))}
    for variation in varied:
        changed = shaped(events, variation)
        chosen = reference.choice(changed, "mass", signal=False)
        weights = reference_weights(changed, variation)
        for number, selection in enumerate(SELECTIONS):
            rows = [(entry, index) for (entry, s), index in chosen.items() if s == number]
            w = np.array([weights[entry][index] for entry, index in rows]) * event_weight(sample)
            mass = np.array([changed.C_Hnl_mass[entry][index] for entry, index in rows], np.float64)
            bins = np.digitize(mass, np.linspace(0, 2, 41))
            found = results.variations(f"{selection}_Hnl_mass")[variation]
            for values, power in ((found.values(flow=True), 1), (found.variances(flow=True), 2)):
                expected = np.bincount(bins, weights=w**power, minlength=42)
                where = f"{selection} {variation}"
                np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-300, err_msg=where)
            if variation == "nominal" and number == 0:
                made = ak.flatten(tree.weight[tree.selection == 0])
                np.testing.assert_allclose(ak.to_numpy(made), w, rtol=1e-12)
        together = sum(results.variations(f"{name}_Hnl_mass")[variation].values(flow=True) for name in SELECTIONS[1:])
        np.testing.assert_allclose(together, varied[variation].values(flow=True), rtol=1e-12, err_msg=variation)
    sums = {variation: h.sum(flow=True).value for variation, h in varied.items()}
    assert len(set(sums.values())) == len(sums), "every variation must change something"


def test_cuts_can_be_changed_without_the_file() -> None:
    path = FOLDER / "selection.yaml"
    plain = load_selection(path)
    changed = load_selection(path, {"SSlxy0to1/Lxy": "C_Hnl_vertex_2DDist_BS < 0.5", "preselection/trigger": "true"})
    assert changed.categories["SSlxy0to1"]["Lxy"] == "C_Hnl_vertex_2DDist_BS < 0.5"
    assert changed.preselection["trigger"] == "true"
    assert list(changed.categories["SSlxy0to1"]) == list(plain.categories["SSlxy0to1"])
    kept = {"categories": plain.categories, "preselection": plain.preselection}
    assert changed.model_copy(update=kept) == plain
    with pytest.raises(ConfigError, match=r"no cut 'SSlxy0to1/Lxz'; did you mean 'SSlxy0to1/Lxy'\?"):
        load_selection(path, {"SSlxy0to1/Lxz": "true"})


def test_histograms_can_be_changed_and_added_without_the_file() -> None:
    path = FOLDER / "selection.yaml"
    plain = load_selection(path)
    new = {"column": "C_Hnl_pt", "edges": [0, 5, 50]}
    changed = load_selection(path, histograms={"Hnl_mass": {"bins": 5}, "Hnl_pt": {"edges": [0, 1]}, "wide": new})
    by_name = {h.name or h.column.removeprefix("C_"): h for h in changed.histograms}
    mass = by_name["Hnl_mass"]
    assert (mass.bins, mass.range, mass.varied, mass.title) == (5, (0, 2), True, "m(#mu#pi) (GeV)")
    assert (by_name["Hnl_pt"].bins, by_name["Hnl_pt"].edges) == (None, (0, 1))
    assert (by_name["wide"].column, by_name["wide"].edges) == ("C_Hnl_pt", (0, 5, 50))
    assert len(changed.histograms) == len(plain.histograms) + 1
    assert changed.model_copy(update={"histograms": plain.histograms}) == plain
    with pytest.raises(ConfigError, match=r"no histogram 'Hnl_mas', and .*; did you mean 'Hnl_mass'"):
        load_selection(path, histograms={"Hnl_mas": {"bins": 5}})
    with pytest.raises(ConfigError, match=r"histograms: Hnl_mass: write \{bins: 50, range: \[0, 5\]\}, not 5"):
        load_selection(path, histograms={"Hnl_mass": 5})
    with pytest.raises(ConfigError, match="with options"):
        load_selection(path, histograms={"Hnl_mass": {"bin": 5}})


def test_what_is_switched_on() -> None:
    path = FOLDER / "selection.yaml"
    plain = load_selection(path)
    columns = dict.fromkeys(("run", "lumi", "event"), "int") | {"C_a": "ROOT::RVec<float>"}
    assert not [name for group in (plain.weights, plain.shapes) for name, entry in group.items() if entry.enabled]
    switched = load_selection(path, switch={"weights/pileup": False, "weights": True, "rules/cosine": False})
    assert [name for name, weight in switched.weights.items() if not weight.enabled] == ["pileup"]
    assert [name for name, rule in switched.rules.items() if not rule.enabled] == ["cosine"]
    assert not any(shape.enabled for shape in switched.shapes.values())
    assert switched.model_copy(update={"weights": plain.weights, "rules": plain.rules}) == plain
    small = {
        "rules": {"first": {"score": "1"}, "off": {"score": "nothing", "enabled": False}},
        "preselection": {"a": "true"},
    }
    resolved = resolve(
        Selection(**small, weights={"w": {"expression": "nothing", "enabled": False}}), columns, sample_of("signal")
    )
    assert (list(resolved.rules), resolved.weights, resolved.skipped) == (["first"], [], [])
    with pytest.raises(ConfigError, match=r"switch: no 'weights/pile'; did you mean 'weights/pileup'\?"):
        load_selection(path, switch={"weights/pile": True})
    with pytest.raises(ConfigError, match="switch: weights: on or off, not 'yes'"):
        load_selection(path, switch={"weights": "yes"})
    with pytest.raises(ConfigError, match="no rule is enabled, and one must choose; there are mass, distance_ratio"):
        load_selection(path, switch={"rules": False})


def test_how_to_choose_is_a_word_of_two() -> None:
    small = {"rules": {"first": {"score": "1"}}, "preselection": {"a": "true"}}
    assert parse(Selection, small, "my.yaml").choose == "per category"
    with pytest.raises(ConfigError, match=r"my\.yaml: key 'choose': unknown value '.*valid: per category, per event"):
        parse(Selection, {**small, "choose": "event"}, "my.yaml")
    with pytest.raises(ConfigError, match=r"key 'inclusive': unknown value '.*valid: categories, preselection"):
        parse(Selection, {**small, "inclusive": "all"}, "my.yaml")
    with pytest.raises(ConfigError, match=r"my\.yaml: inclusive: 'categories' needs categories"):
        parse(Selection, {**small, "inclusive": "categories"}, "my.yaml")


def test_a_side_rule_without_its_columns_is_left_out_with_a_word(tmp_path: Path) -> None:
    path = write_events(tmp_path / "wztree.root", make_events(40, seed=6), lambda name: name != "C_Ds_vertex_3DDist_PV")
    with pytest.warns(PorticoWarning, match="'C_Ds_vertex_3DDist_PV' is not a column of sample.*the rule is left out"):
        tree, results = run(path, tmp_path / "out", sample_of("data"), declared(**TREE_ONLY))
    assert len(tree) > 0
    assert [name for name in results if name.startswith("choices_")] == [
        f"choices_{rule}" for rule in ("mass", "cosine", "probability")
    ]
    with pytest.raises(ConfigError, match=r"rules\.distance_ratio\.score"):
        run(path, tmp_path / "no", sample_of("data"), declared(**TREE_ONLY, rules=first("distance_ratio")))


def test_a_worker_keeps_warnings_of_portico_for_the_driver() -> None:
    heard: list[str] = []
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        _hear(heard)
        for _ in range(2):
            warnings.warn("a rule is left out", PorticoWarning, stacklevel=1)
        warnings.warn("another", UserWarning, stacklevel=1)
    assert heard == ["a rule is left out"] * 2
    assert [str(one.message) for one in others] == ["another"]
