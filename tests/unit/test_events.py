"""The event format is what docs/events.md says, in both formats, with these very numbers; mixtures; origins."""

from __future__ import annotations

import json
import re
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

import hnl.simulate as module
from hnl.constants import TRIGGER_PATHS
from portico.files import trees
from tests.simulated import DESCRIPTION, assert_same, load, make, numbers

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
GOLDEN = Path(__file__).with_name("golden_events.json")
SAMPLES = {
    "signal": {"process": "signal", "mass": 1.5, "ctau": 100.0, "seed": 11},
    "control_dplus": {"process": "control", "meson": "Dplus", "seed": 12},
    "background": {"process": "background", "min_muons": 2, "seed": 13},
    "crowded": {"process": "signal", "mass": 1.5, "ctau": 100.0, "seed": 11, "mode": "data-like"},
}
ENTRIES = {"crowded": 40}
TYPES = {"std::": "", "_t": "", "ROOT::VecOps::RVec<": "", ">": "[]"}


def described():
    """Columns and types of the two tables, and those that only simulation has."""
    tables = PAGE.split("Simulation also has:")
    rows = [dict(re.findall(r"^\| `(\w+)` \| ([a-z0-9]+(?:\[\])?) \|", table, re.MULTILINE)) for table in tables]
    return {**rows[0], **rows[1]}, set(rows[1])


def written(path):
    """Columns of an RNTuple with types as the page writes them."""
    (tree,) = trees(str(path))
    found = {}
    for column in tree.columns:
        kind = column.type
        for long, short in TYPES.items():
            kind = kind.replace(long, short)
        found[column.name] = kind
    return found


def sums(column):
    """Sums that change with any number and with their order; exact for whole numbers."""
    values = numbers(column)
    weights = np.arange(len(values)) % 97 + 1
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
        return [len(values), float(values.sum()), float((weights * values).sum()), float(np.abs(values).sum())]
    return [len(values), int(values.sum()), int((weights * values).sum())]


@pytest.fixture(scope="module")
def root():
    return load("""
    namespace hnl_test {
    // Entries that were given up, and the most tries of the others.
    inline ROOT::RVecI tries(double mass, double ctau, int entries) {
      ROOT::RVecI out = {0, 0};
      for (int entry = 0; entry < entries; ++entry) {
        const hnl::Event event = hnl::simulate_signal(entry, hnl::Request{17}, mass, ctau);
        out[0] += !event.triggered;
        out[1] = std::max(out[1], static_cast<int>(event.generated_decays));
      }
      return out;
    }
    }""")


@pytest.fixture(scope="module")
def made(root, tmp_path_factory):
    """Events of each sample."""
    folder = tmp_path_factory.mktemp("events")
    return {
        name: make(root, folder / name, sample, 0, ENTRIES.get(name, 200)) for name, sample in SAMPLES.items()
    }, folder


def test_columns_are_those_of_the_page(root, made, tmp_path):
    columns, simulation = described()
    assert written(made[1] / "signal" / "events.root") == columns
    make(root, tmp_path / "data", SAMPLES["background"], 0, 5, kind="data")
    data = {name: kind for name, kind in columns.items() if name not in simulation}
    assert written(tmp_path / "data" / "events.root") == data


def test_trigger_paths_are_those_of_the_page():
    assert ", ".join(TRIGGER_PATHS) in PAGE


@pytest.mark.parametrize("name", SAMPLES)
def test_golden_numbers(made, name):
    """Sums of 200 events (40 with pile-up) as they were when this was written."""
    events, of = made[0][name]
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    assert of["generated"] == pytest.approx(golden.pop("sum of generated"), rel=1e-12)
    assert golden.keys() == set(events.fields)
    for field, expected in golden.items():
        found = sums(events[field])
        if len(expected) == 3:
            assert found == expected, field
        else:
            assert found[0] == expected[0], field
            assert found[1:] == pytest.approx(expected[1:], abs=1e-6 * expected[3] + 1e-30, rel=1e-6), field


def test_formats_hold_the_same_events_in_several_clusters(root, tmp_path):
    crowded = {**SAMPLES["crowded"], "pileup": 60.0}
    events, of = {}, {}
    for kind in ("rntuple", "ttree"):
        events[kind], of[kind] = make(root, tmp_path / kind, crowded, 0, 120, written_as=kind)
        (tree,) = trees(str(tmp_path / kind / "events.root"))
        assert tree.format.lower() == kind
        assert tree.entries == 120
        assert len(tree.ends) >= 2
    assert of["rntuple"] == of["ttree"]
    assert_same(events["rntuple"][sorted(events["rntuple"].fields)], events["ttree"][sorted(events["ttree"].fields)])


def test_unknown_format_is_named(root, tmp_path):
    with pytest.raises(ValueError, match="'format' is 'parquet'; valid: rntuple, ttree"):
        make(root, tmp_path / "parquet", SAMPLES["signal"], 0, 5, written_as="parquet")


@pytest.mark.parametrize("mass", [1.0, 1.25, 1.5, 1.8])
@pytest.mark.parametrize("ctau", [10.0, 100.0, 1000.0])
def test_every_signal_point_is_far_from_the_most_tries(root, mass, ctau):
    lost, most = root.hnl_test.tries(mass, ctau, 20)
    assert lost == 0
    assert most < 12_000  # of 20,000; 4,000 entries of each point need 11,144 at most


def test_dplus_mesons_have_their_mass_and_lifetime(made):
    events, _ = made[0]["control_dplus"]
    assert set(np.abs(numbers(events.Gen_pdgId[:, 0]))) == {411}
    energy = np.sqrt(events.Gen_px**2 + events.Gen_py**2 + events.Gen_pz**2 + events.Gen_mass**2)
    final = [1, 3, 4]  # pion and two muons
    total = [ak.sum(part[:, final], axis=1) for part in (energy, events.Gen_px, events.Gen_py, events.Gen_pz)]
    mass = np.sqrt(total[0] ** 2 - total[1] ** 2 - total[2] ** 2 - total[3] ** 2)
    assert np.max(np.abs(mass - 1.86966)) < 2e-3  # of float32 momenta
    flight = [events[f"Gen_v{axis}"][:, 1] - events[f"Gen_v{axis}"][:, 0] for axis in "xyz"]
    momentum = np.sqrt(events.Gen_px**2 + events.Gen_py**2 + events.Gen_pz**2)[:, 0]
    proper = np.sqrt(flight[0] ** 2 + flight[1] ** 2 + flight[2] ** 2) * 1.86966 / momentum
    # The trigger asks for displaced muons: longer than 0.0312 cm on average.
    assert 0.031 < ak.mean(proper) < 0.07


def test_origins_add_up(root, tmp_path):
    """Cross section times efficiency of all mesons is the sum of those of prompt and b."""
    accepted = {}
    for origin, mother in (("all", {4, 5}), ("prompt", {4}), ("b", {5})):
        parameters = {"process": "control", "seed": 14, "origin": origin}
        events, of = make(root, tmp_path / origin, parameters, 0, 600)
        assert set(numbers(events.Gen_motherPdgId[:, 0])) == mother
        pools = [p for p in DESCRIPTION["ds"] if origin == "all" or (origin == "b") == (p == "hardbbbar")]
        total = sum(DESCRIPTION["ds"][p]["ds_cross_section_pb"] for p in pools)
        accepted[origin] = total * of["passed"] / of["generated"]
    assert accepted["prompt"] + accepted["b"] == pytest.approx(accepted["all"], rel=4 * np.sqrt(2 / 600))


def test_mixture_is_made_of_its_parts(root, tmp_path):
    shares = {"control": 0.5, "control_dplus": 0.2, "background": 0.3}
    mixture, of = make(root, tmp_path / "mixture", {"process": "mixture", "seed": 12, "fractions": shares}, 0, 400)
    assert of["generated"] == 0.0
    first = np.abs(ak.to_numpy(mixture.Gen_pdgId[:, 0]))
    for kind, share in ((431, 0.5), (411, 0.2), (13, 0.3)):
        assert np.mean(first == kind) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 400))
    alone, _ = make(root, tmp_path / "alone", SAMPLES["control_dplus"], 0, 100)
    part = np.flatnonzero(first[:100] == 411)
    fields = [field for field in mixture.fields if field != "generated"]
    assert_same(mixture[part][fields], alone[part][fields])
    data, _ = make(root, tmp_path / "data", {"process": "mixture", "seed": 12, "fractions": shares}, 0, 50, kind="data")
    fields = [field for field in data.fields if field != "run"]
    assert_same(data[fields], mixture[:50][fields])
    assert not set(data.fields) & {*module.GENERATOR_COLUMNS}


def golden():
    """Return what golden_events.json holds; to be written anew after an intended change."""
    import tempfile

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, sample in SAMPLES.items():
            events, of = make(load(), Path(folder) / name, sample, 0, ENTRIES.get(name, 200))
            found[name] = {"sum of generated": of["generated"], **{f: sums(events[f]) for f in events.fields}}
    return found
