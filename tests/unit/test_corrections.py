"""Corrections against correctionlib's own evaluation, look-ups against dictionaries, and what is refused."""

from __future__ import annotations

import gzip
import importlib.util
import json
import math
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import correctionlib
import numpy as np
import pytest
import uproot
import yaml
from scipy import stats

import hnl
from portico import root
from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.config import parse
from portico.corrections import Correction, Lookup, declare
from portico.corrections.schema import functions_in, read_set
from portico.errors import ConfigError
from portico.worker.classify import _readable
from portico.worker.frame import run_chunk
from tests.constants import CONSTANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

ROOT = root.load()
REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = Path(hnl.__file__).parent / "corrections"
MARK = "Made for the demonstration, not a measurement"


def variable(name: str, kind: str = "real") -> dict[str, str]:
    return {"name": name, "type": kind}


def correction(name: str, data: object, *inputs: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"name": name, "version": 1, "inputs": list(inputs), "output": variable("w"), "data": data, **more}


def binning(content: list[Any], flow: object, edges: object = (0.0, 1.0, 3.0), axis: str = "x") -> dict[str, Any]:
    edges = list(edges) if isinstance(edges, tuple) else edges
    return {"nodetype": "binning", "input": axis, "edges": edges, "content": content, "flow": flow}


def category(content: Mapping[Any, Any], axis: str = "v", **more: Any) -> dict[str, Any]:
    items = [{"key": key, "value": value} for key, value in content.items()]
    return {"nodetype": "category", "input": axis, "content": items, **more}


def formula(expression: str, *variables: str) -> dict[str, Any]:
    return {"nodetype": "formula", "expression": expression, "parser": "TFormula", "variables": list(variables)}


def write(path: Path, *corrections: dict[str, Any], **more: Any) -> Path:
    path.write_text(json.dumps({"schema_version": 2, "corrections": list(corrections), **more}))
    return path


X, Y, V, N = variable("x"), variable("y"), variable("v", "string"), variable("n", "int")
GRID = {
    "nodetype": "multibinning", "inputs": ["x", "y"], "edges": [[0.0, 1.0, 3.0], {"n": 2, "low": -1.0, "high": 1.0}],
    "content": [1.0, 2.0, 3.0, 4.0], "flow": 99.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corrections")
    write(
        path / "sf.json",
        correction("plain", binning([10.0, 20.0], 0.0), X),
        correction("wraps", binning([10.0, 20.0], "wrap"), X),
        correction("grid", GRID, X, Y),
        correction("words", category({"up": binning([1.0, 2.0], 0.0), "down": 3.0}, default=7.0), X, V),
        correction("nested", binning([binning([1.0, 2.0], "clamp", axis="y"), 5.0], 0.0), X, Y),
        correction("whole", category({1: 10.0, -2: 20.0}, axis="n", default=0.0), N),
        correction("root", formula("sqrt(x)", "x"), X),
        correction("moved", {
            "nodetype": "transform", "input": "x", "rule": formula("x*100", "x"),
            "content": binning([1.0, 2.0], 0.0, (0.0, 100.0, 300.0)),
        }, X),
        compound_corrections=[{
            "name": "both", "inputs": [X, V], "output": variable("w"), "inputs_update": ["x"], "input_op": "*",
            "output_op": "*", "stack": ["root", "words"],
        }],
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def functions(folder: Path) -> dict[str, Any]:
    """The functions above, callable from Python: as they are, and with `_clamp` clamped."""
    names = ("plain", "wraps", "grid", "words", "nested", "whole", "root", "moved", "both")
    wanted = {n: Correction(file="sf.json") for n in names}
    wanted |= {f"{n}_clamp": Correction(file="sf.json", name=n, range="clamp") for n in names}
    namespace = getattr(ROOT, declare(wanted, folder))
    return {name: getattr(namespace, name) for name in wanted}


def refused(call: Callable[[], object]) -> str:
    """The line of a C++ exception that its function wrote."""
    with pytest.raises(Exception, match=r"correction|lookup") as caught:
        call()
    found = re.search(r"^\s*(?:runtime_error: )((?:correction|lookup) '.*)$", str(caught.value), re.MULTILINE)
    assert found is not None, str(caught.value)
    return found[1]


# ---- shipped files


def drawn(function: Any, random: np.random.Generator, size: int) -> dict[str, NDArray[np.float64]]:
    """Random values of the numbers that a correction takes, within what it covers."""
    columns = {}
    for put in function.inputs:
        if put.kind == "real":
            low, high = put.low, put.high
            columns[put.name] = random.uniform(low, min(high, 100.0), size)
            if math.isinf(high):
                columns[put.name][::7] = 10 ** random.uniform(2, 5, len(columns[put.name][::7]))
    return columns


@pytest.mark.parametrize("file", ["pileup", "trigger", "muon", "shape"])
def test_shipped_corrections_are_those_of_correctionlib(file: str) -> None:
    path = SHIPPED / f"{file}.json"
    random = np.random.default_rng(1)
    reference = correctionlib.CorrectionSet.from_file(str(path))
    found = list(functions_in(read_set(path.read_bytes(), file), file))
    assert {function.name for function in found} == set(reference)
    namespace = declare({function.name: Correction(file=path.name) for function in found}, SHIPPED)
    columns: dict[str, Any] = {}
    defined: dict[str, tuple[str, Any]] = {}
    for function in found:
        assert MARK in function.description
        numbers = {f"{function.name}_{name}": values for name, values in drawn(function, random, 3000).items()}
        columns |= numbers
        for word in ("nominal", "up", "down"):
            words = [word] if function.inputs[-1].kind == "string" else []
            arguments = ", ".join([*numbers, *(f'"{w}"' for w in words)])
            expected = reference[function.name].evaluate(*numbers.values(), *words)
            defined[f"{function.name}__{word}"] = (f"{namespace}::{function.name}({arguments})", expected)
    frame = ROOT.RDF.FromNumpy(columns)
    for name, (expression, _) in defined.items():
        frame = frame.Define(name, expression)
    result = frame.AsNumpy(list(defined))
    for name, (_, expected) in defined.items():
        np.testing.assert_allclose(result[name], expected, rtol=1e-15, atol=0, err_msg=name)
        assert np.unique(result[name]).size > 1


def test_pileup_weights_turn_one_profile_into_the_other() -> None:
    reference = correctionlib.CorrectionSet.from_file(str(SHIPPED / "pileup.json"))
    shape = 1 / CONSTANTS["PILEUP_SPREAD"] ** 2
    random = np.random.default_rng(2)
    for name, simulated, data in (("pileup_weight", 3.0, 3.3), ("pileup_weight_data_like", 30.0, 33.0)):
        true = np.rint(stats.gamma.rvs(shape, scale=simulated / shape, size=400_000, random_state=random))
        for word, mean in (("nominal", data), ("up", data * 1.046), ("down", data * 0.954)):
            weight = reference[name].evaluate(true, word)
            assert weight.mean() == pytest.approx(1, abs=0.01)
            assert (weight * true).sum() / weight.sum() == pytest.approx(mean, rel=0.01)
            assert reference[name].evaluate(0.0, word) == 1
            assert reference[name].evaluate(100.0, word) > 0


def test_trigger_efficiencies_can_be_divided_and_turn_on() -> None:
    reference = correctionlib.CorrectionSet.from_file(str(SHIPPED / "trigger.json"))
    simulation, data = reference["trigger_efficiency_simulation"], reference["trigger_efficiency_data"]
    pt, ips = (a.ravel() for a in np.meshgrid(np.linspace(0.1, 60, 50), np.linspace(0.1, 60, 50)))
    for values in (simulation.evaluate(pt, ips), *(data.evaluate(pt, ips, w) for w in ("nominal", "up", "down"))):
        assert values.min() > 0
        assert values.max() <= 1
    assert np.all(data.evaluate(pt, ips, "down") < data.evaluate(pt, ips, "nominal"))
    plateau = CONSTANTS["TRIGGER_EFFICIENCY"]
    assert simulation.evaluate(17.0, 15.0) == pytest.approx(plateau, abs=0.05)  # prompt muons, far above all thresholds
    assert simulation.evaluate(7.5, 2.5) < 0.2
    assert simulation.evaluate(3.0, 15.0) < 0.01


def script() -> Any:
    specification = importlib.util.spec_from_file_location("make_corrections", REPOSITORY / "tools/make_corrections.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_script_makes_the_shipped_files(tmp_path: Path) -> None:
    from types import SimpleNamespace

    module = script()
    means = [("pileup_weight", 3.0, 3.3), ("pileup_weight_data_like", 30.0, 33.0)]
    module.make_pileup(tmp_path, SimpleNamespace(pileup=means))
    module.make_muon(tmp_path, None)
    module.make_shape(tmp_path, None)
    for name in ("pileup", "muon", "shape"):
        assert (tmp_path / f"{name}.json").read_bytes() == (SHIPPED / f"{name}.json").read_bytes()


def test_script_counts_muons_whose_partner_fired() -> None:
    import awkward as ak

    covariance = [0.0] * 45
    covariance[9], covariance[24], covariance[39] = 0.03**2, 0.03**2, 0.04**2
    event = {
        "Muon_track": [1, 2], "Track_qOverP": [1.0, -0.1, 0.05], "Track_lambda": [0.0, 0.0, math.pi / 3],
        "Track_dxy": [0.0, -0.1, 0.2], "Track_cov": covariance, "BS_widthX": 0.04,
    }  # fmt: skip
    events = ak.Array([{**event, "Trig_muon": fired} for fired in ([0], [0, 1], [1])])
    pt, ips, fired = script().probes(events)
    # the second muon of the first event, both of the second, the first of the third
    np.testing.assert_allclose(pt, [10, 10, 10, 10])
    np.testing.assert_allclose(ips, [0.2 / math.hypot(0.04, 0.04), 2, 0.2 / math.hypot(0.04, 0.04), 2])
    assert fired.tolist() == [False, True, True, False]


# ---- ranges


def test_numbers_outside_are_refused_and_told(functions: Mapping[str, Any]) -> None:
    plain = functions["plain"]
    assert [plain(x) for x in (0.0, 0.999, 1.0, np.nextafter(3.0, 0))] == [10, 10, 20, 20]
    for x in (-1e-9, 3.0, 1e9, math.inf, -math.inf):
        text = refused(lambda x=x: plain(x))
        assert text.startswith("correction 'plain' (sf.json) has no value for x = "), text
        assert "it covers x from 0 to 3" in text
        assert "range: clamp" in text
    assert "x = 0.125, y = 2;" in refused(lambda: functions["grid"](0.125, 2))
    # what a transform makes of x has another range, which is not the user's
    assert "has no value for x = 4; with 'range: clamp'" in refused(lambda: functions["moved"](4.0))


def test_numbers_outside_take_the_nearest_bin_when_clamped(functions: Mapping[str, Any]) -> None:
    plain, grid = functions["plain_clamp"], functions["grid_clamp"]
    assert [plain(x) for x in (-1e9, -1e-9, 0.5, 3.0, math.inf)] == [10, 10, 10, 20, 20]
    assert [grid(x, y) for x, y in ((-5, -5), (-5, 5), (5, -5), (5, 5), (0.5, 5))] == [1, 2, 3, 4, 2]
    assert functions["nested_clamp"](-1.0, 99.0) == 2
    assert functions["moved_clamp"](4.0) == 2
    assert "range: clamp" not in refused(lambda: plain(math.nan))


def test_not_a_number_is_refused_everywhere(functions: Mapping[str, Any]) -> None:
    for name in ("plain", "plain_clamp", "wraps", "root"):
        assert "x = nan" in refused(lambda name=name: functions[name](math.nan))
    assert "not finite" in refused(lambda: functions["root"](-1.0))


def test_what_the_file_says_about_bins_within_bins_is_overruled(functions: Mapping[str, Any]) -> None:
    nested = functions["nested"]
    assert [nested(0.5, 0.5), nested(0.5, 2.0), nested(2.0, 99.0)] == [1, 2, 5]
    assert "y = 3.5" in refused(lambda: nested(0.5, 3.5))  # the file clamps there
    wraps = functions["wraps"]
    assert [wraps(x) for x in (-0.5, 0.5, 3.5, 5.5)] == [20, 10, 10, 20]  # has no outside


def test_unknown_words_are_refused_even_with_a_default(functions: Mapping[str, Any]) -> None:
    for name in ("words", "words_clamp"):
        assert [functions[name](0.5, "up"), functions[name](0.5, "down")] == [1, 3]
        text = refused(lambda name=name: functions[name](0.5, "upp"))
        assert 'v = "upp"' in text
        assert "v of down, up" in text
    whole = functions["whole"]
    assert [whole(1), whole(-2), whole(1.0)] == [10, 20, 10]
    assert "n = 3" in refused(lambda: whole(3))
    assert "n = 1.5" in refused(lambda: whole(1.5))


def test_integers_do_not_become_negative(functions: Mapping[str, Any]) -> None:
    whole = functions["whole"]["unsigned long long"]
    assert whole(1) == 10
    assert "2^63 or more for an integer input" in refused(lambda: whole(2**64 - 2))  # as -2, it would have a value


def test_compound_corrections(functions: Mapping[str, Any]) -> None:
    assert functions["both"](1.44, "up") == pytest.approx(1.2 * 2)  # root(1.44) = 1.2, then x = 1.44 * 1.2
    assert "correction 'both'" in refused(lambda: functions["both"](4.0, "up"))
    assert functions["both_clamp"](4.0, "up") == pytest.approx(2 * 2)


# ---- files


def test_compressed_files_and_whole_numbers_as_edges(tmp_path: Path) -> None:
    text = json.dumps({"schema_version": 2, "corrections": [correction("a", binning([1, 2], "error", (0, 1, 2)), X)]})
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(text.encode()))
    name = declare({"squeezed": Correction(file="a.json.gz", name="a")}, tmp_path)
    assert getattr(ROOT, name).squeezed(1.5) == 2


def test_a_changed_file_gives_new_values_in_a_live_process(tmp_path: Path) -> None:
    wanted = {"changing": Correction(file="a.json")}
    write(tmp_path / "a.json", correction("changing", binning([1.0, 2.0], 0.0), X))
    first = declare(wanted, tmp_path)
    assert declare(wanted, tmp_path) == first
    write(tmp_path / "a.json", correction("changing", binning([5.0, 6.0], 0.0), X))
    second = declare(wanted, tmp_path)
    clamped = declare({"changing": Correction(file="a.json", range="clamp")}, tmp_path)
    assert len({first, second, clamped}) == 3
    assert [getattr(ROOT, n).changing(0.5) for n in (first, second, clamped)] == [1, 5, 5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "nope.json: no such file"),
        (b"{", "not a valid correctionlib file"),
        (b"\x1f\x8bx", "not a valid correctionlib file"),
        (b"[1]", "'schema_version' must be 2, found none"),
        (b'{"schema_version": 1, "corrections": []}', "must be 2, found 1"),
    ],
)
def test_files_that_are_no_corrections(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "nope.json").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        declare({"a": Correction(file="nope.json")}, tmp_path)


def test_corrections_that_are_not_there_or_wrong(folder: Path, tmp_path: Path) -> None:
    declare({"plain": Correction(file="sf.json"), "b": Correction(file="sf.json", name="both")}, folder)
    with pytest.raises(ConfigError, match=r"corrections.plan: .*no correction 'plan'; did you mean 'plain'\? valid: b"):
        declare({"plan": Correction(file="sf.json")}, folder)
    both = {"name": "c", "inputs": [X], "output": X, "inputs_update": [], "input_op": "*", "output_op": "*"}
    write(
        tmp_path / "a.json", correction("bins", binning([1.0], 0.0), X), compound_corrections=[{**both, "stack": ["d"]}]
    )
    with pytest.raises(ConfigError, match=r"'bins' does not follow schema version 2: .*content length"):
        declare({"bins": Correction(file="a.json")}, tmp_path)
    write(tmp_path / "b.json", correction("c", 2.0, X), correction("d", 3.0, X),
          compound_corrections=[{**both, "stack": ["d"]}])  # fmt: skip
    with pytest.raises(ConfigError, match="a correction and a compound correction are both named 'c'; rename one"):
        declare({"c": Correction(file="b.json")}, tmp_path)
    with pytest.raises(ConfigError, match="'c' consists of 'd', which is not in the file"):
        declare({"c": Correction(file="a.json")}, tmp_path)
    with pytest.raises(ConfigError, match=r"unknown key 'ranges'; did you mean 'range'"):
        parse(Correction, {"file": "a", "ranges": "clamp"}, "here")
    with pytest.raises(ConfigError, match="unknown value 'zero'; valid: clamp, refuse"):
        parse(Correction, {"file": "a", "range": "zero"}, "here")


# ---- what the user reads


def message_of(folder: Path, expression: str, functions: Mapping[str, Any], tmp_path: Path, log: Any) -> str:
    """What a runner would tell of a step that uses the expression."""

    def step(frame: Any, _: Sample) -> dict[str, Any]:
        namespace = declare(functions, folder)
        made = frame.Define("y", f"using namespace {namespace}; return {expression};")
        return {"y": made.Histo1D(("y", "", 1, 0, 1), "y")}

    log.readouterr()
    with pytest.raises(Exception, match=r".") as caught:
        run_chunk(step, Chunk("", "", "", 0, 9), Sample(name="s", kind="data", entries=9), {}, tmp_path)
    return _readable(caught.value, log.readouterr().err)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ('words(entry, "up")', "correction 'words' (sf.json) has no value for x = 3, v = \"up\"; it covers x from 0"),
        ("words(1)", "correction 'words' (sf.json) takes 2 arguments: x (a number), v (a string)"),
        ("words(1, 2)", "correction 'words' (sf.json) takes 2 arguments"),
        ('words("up", 1)', "correction 'words' (sf.json) takes 2 arguments"),
        ('words(ROOT::RVecF{1}, "up")', "correction 'words' (sf.json) takes 2 arguments"),
        ("table(1, 2)", "lookup 'table' (t.json) takes 3 arguments: run, lumi, event"),
        ('table(1, 2, "3")', "lookup 'table' (t.json) takes 3 arguments"),
        ("table(1, 2, entry)", "lookup 'table' (t.json) has no entry for run 1, lumi 2, event 0; set a value"),
    ],
)  # fmt: skip
def test_errors_reach_the_user(folder: Path, tmp_path: Path, capfd: Any, expression: str, message: str) -> None:
    (folder / "t.json").write_text(json.dumps({"run": [1], "lumi": [2], "event": [3], "w": [4]}))
    functions = {"words": Correction(file="sf.json"), "table": Lookup(file="t.json", value="w")}
    told = message_of(folder, expression, functions, tmp_path, capfd)
    assert message in told
    assert ("does not compile" in told) == ("takes" in message)


# ---- look-ups


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, NDArray[Any]]]:
    """20,000 events in random order, with event numbers above 2^32."""
    folder, random = tmp_path_factory.mktemp("tables"), np.random.default_rng(3)
    size = 20_000
    event = random.integers(1, 2**40, size, dtype=np.uint64)
    columns = {
        "run": random.choice(np.array([315252, 325172], np.uint32), size),
        "lumi": random.integers(1, 3000, size).astype(np.uint32), "event": event, "w": random.normal(size=size),
    }  # fmt: skip
    with uproot.recreate(folder / "t.root") as file:
        file.mktree("weights", {name: array.dtype for name, array in columns.items()})
        file["weights"].extend(columns)
    return folder, columns


def test_values_are_joined_by_event_in_any_order(table: tuple[Path, dict[str, NDArray[Any]]]) -> None:
    folder, columns = table
    namespace = declare({"w": Lookup(file="t.root", value="w")}, folder)
    order = np.random.default_rng(4).permutation(len(columns["run"]))[:5000]
    given = {"run": columns["run"].astype(np.int32), "lumi": columns["lumi"].astype(np.float32)}
    given["event"] = columns["event"]
    frame = ROOT.RDF.FromNumpy({name: np.ascontiguousarray(array[order]) for name, array in given.items()})
    found = frame.Define("w", f"{namespace}::w(run, lumi, event)").AsNumpy(["event", "w"])
    expected = dict(zip(columns["event"].tolist(), columns["w"].tolist(), strict=True))
    assert found["w"].tolist() == [expected[event] for event in found["event"].tolist()]


def test_every_format_gives_the_same(table: tuple[Path, dict[str, NDArray[Any]]], tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    _, columns = table
    few = {name: array[:50] for name, array in columns.items()}
    parquet.write_table(pa.table(few), tmp_path / "t.parquet")
    (tmp_path / "t.json").write_text(json.dumps({name: array.tolist() for name, array in few.items()}))
    frame = ROOT.RDF.FromNumpy({name: np.ascontiguousarray(array) for name, array in few.items()})
    options = ROOT.RDF.RSnapshotOptions()
    options.fOutputFormat = ROOT.RDF.ESnapshotOutputFormat.kRNTuple
    frame.Snapshot("other", str(tmp_path / "t.root"), list(few), options)
    wanted = {f"from_{end}": Lookup(file=f"t.{end}", value="w") for end in ("parquet", "json", "root")}
    functions = getattr(ROOT, declare(wanted, tmp_path))
    for i in (0, 17, 49):
        key = [int(few[name][i]) for name in ("run", "lumi", "event")]
        assert [getattr(functions, name)(*key) for name in wanted] == [few["w"][i]] * 3


def test_negative_integers_are_bit_patterns_on_both_sides(tmp_path: Path) -> None:
    large = 3_000_000_000
    for name, event in (("a", np.array([large, 5], np.uint64)), ("b", np.array([large - 2**32, 5], np.int32))):
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            file["t"] = {"run": np.array([1, 1]), "lumi": np.array([1, 1]), "event": event, "w": np.array([7.0, 8.0])}
    wanted = {name: Lookup(file=f"{name}.root", value="w") for name in "ab"}
    namespace = declare(wanted, tmp_path)
    given = (f"int({large}u)", f"{large}ull", f"{large}.")
    call = ", ".join(f"{namespace}::{name}(1, 1.f, {event})" for name in "ab" for event in given)
    frame = ROOT.RDataFrame(1).Define("found", f"ROOT::RVecD{{{call}}}")
    assert list(frame.Take["ROOT::RVecD"]("found").GetValue()[0]) == [7.0] * 6


def test_events_that_are_not_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps({"run": [1], "lumi": [2], "event": [3], "w": [4.5]}))
    wanted = {"strict": Lookup(file="t.json", value="w"), "mild": Lookup(file="t.json", value="w", missing=-1.5)}
    functions = getattr(ROOT, declare(wanted, tmp_path))
    assert functions.strict(1, 2, 3) == functions.mild(1, 2, 3) == 4.5
    assert functions.mild(1, 2, 4) == functions.mild(2, 1, 3) == -1.5
    assert "'strict' (t.json) has no entry for run 1, lumi 2, event 4;" in refused(lambda: functions.strict(1, 2, 4))
    assert "not an integer" in refused(lambda: functions.mild(1, 2, 3.5))
    assert "in this order" in refused(lambda: functions.mild(2**32, 2, 3))


def test_an_empty_table_has_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps({name: [] for name in ("run", "lumi", "event", "w")}))
    namespace = declare({"empty": Lookup(file="t.json", value="w", missing=2)}, tmp_path)
    assert getattr(ROOT, namespace).empty(1, 2, 3) == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"run": [1, 1], "event": [3, 3]}, "run 1, lumi 2, event 3 occurs twice, with 4 and 5; remove 1 duplicate"),
        ({"w": [4, float("nan")]}, "the value of run 1, lumi 2, event 4 is nan; 1 values are not finite"),
        ({"event": [3.5, 4.0]}, r"column 'event' has 3.5: not an integer"),
        ({"event": [3.0, 2.0**53]}, r"column 'event' has .*: not an integer, or too large for exact float64"),
        ({"run": [1, 2**32]}, "column 'run' has 4294967296, more than 32 bits"),
        ({"w": ["a", "b"]}, "column 'w' must have one number per row"),
        ({"w": [[1], [1, 2]]}, "column 'w' must have one number per row"),
        ({"w": [1]}, "must have the same length"),
        ({"w": 1}, "must have a list for each column"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    content = {"run": [1, 1], "lumi": [2, 2], "event": [3, 4], "w": [4, 5]} | changed
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        declare({"w": Lookup(file="t.json", value="w")}, tmp_path)


def test_columns_and_trees_are_looked_up(table: tuple[Path, dict[str, NDArray[Any]]], tmp_path: Path) -> None:
    folder, _ = table
    for lookup, message in (
        (Lookup(file="t.root", value="ww"), r"has no column 'ww'; did you mean 'w'\?"),
        (Lookup(file="t.root", value="w", tree="weight"), r"has no tree 'weight'; did you mean 'weights'\?"),
        (Lookup(file="t.root", value="w", key=("run", "ls", "event")), "has no column 'ls'"),
        (Lookup(file="none.root", value="w"), "no such file"),
        (Lookup(file="t.txt", value="w"), r"must end in .root, .parquet, .json"),
    ):
        (folder / "t.txt").touch()
        with pytest.raises(ConfigError, match=message):
            declare({"w": lookup}, folder)
    with uproot.recreate(tmp_path / "two.root") as file:
        file["a"], file["b"] = ({"run": np.array([1])} for _ in range(2))
    with pytest.raises(ConfigError, match="contains 2 trees"):
        declare({"w": Lookup(file="two.root", value="w")}, tmp_path)
    (tmp_path / "bad.root").write_bytes(b"not ROOT" + bytes(100))
    with pytest.raises(ConfigError, match="cannot be read"):
        declare({"w": Lookup(file="bad.root", value="w")}, tmp_path)


def test_a_million_events_load_quickly(tmp_path: Path) -> None:
    size, random = 1_000_000, np.random.default_rng(5)
    with uproot.recreate(tmp_path / "t.root") as file:
        file["t"] = {
            "run": np.full(size, 1), "lumi": np.arange(size) // 100, "event": random.permutation(size),
            "w": np.arange(size) * 0.5,
        }  # fmt: skip
    began = time.perf_counter()
    namespace = declare({"million": Lookup(file="t.root", value="w")}, tmp_path)
    assert time.perf_counter() - began < 10  # about one second on a machine of its own
    with uproot.open(tmp_path / "t.root") as file:
        events = file["t"]["event"].array(library="np")
    assert getattr(ROOT, namespace).million(1, 1234, int(events[123_456])) == 61_728


# ---- documentation


def test_examples_of_the_page_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (REPOSITORY / "docs" / "corrections.md").read_text(encoding="utf-8")
    declared = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    for name, content in declared["corrections"].items():
        declare({name: parse(Correction, content, "page")}, SHIPPED.parent)
    assert parse(Lookup, declared["lookups"]["splot"], "page").missing == "refuse"
    monkeypatch.chdir(tmp_path)
    made, own = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(made, {})
    assert correctionlib.CorrectionSet.from_file("mine.json")["muon_id"].evaluate(12.0, 1.0, "up") == 1.0
    namespace: dict[str, Any] = {"__file__": str(SHIPPED.parent / "x.py")}
    exec(own, namespace)
    numbers = ROOT.RDF.FromNumpy({"nPU_trueInt": np.arange(5, dtype=np.int32)})
    assert namespace["weighted"](numbers, None)["weight"].GetEntries() == 5
