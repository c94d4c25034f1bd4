"""`portico limit`: what it reads, what it refuses and with which words, what it prints."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest
from click.testing import CliRunner, Result

from portico.cli.limit import limit
from portico.errors import ConfigError, InputError, PorticoError
from portico.stats.infer import infer
from portico.stats.limit import Limit
from portico.stats.model import Model
from portico.stats.model_file import read_model
from portico.stats.toy_limits import ToyStatistics
from portico.stats.workspace import Workspace

MU = {"name": "mu", "type": "normfactor", "data": None}
SPEC: dict[str, Any] = {
    "channels": [
        {
            "name": "A",
            "samples": [
                {"name": "signal", "data": [12.0, 11.0], "modifiers": [MU]},
                {
                    "name": "background",
                    "data": [50.0, 52.0],
                    "modifiers": [
                        {"name": "norm", "type": "normsys", "data": {"lo": 0.9, "hi": 1.1}},
                        {"name": "stat", "type": "staterror", "data": [3.0, 4.0]},
                    ],
                },
            ],
        }
    ],
    "observations": [{"name": "A", "data": [51.0, 48.0]}],
    "measurements": [{"name": "first", "config": {"poi": "mu", "parameters": []}}],
    "version": "1.0.0",
}
OWN = {
    "channels": [
        {
            "name": "A", "edges": [0, 1, 2], "counts": [51, 48],
            "components": [
                {"name": "signal", "events": 23, "strength": "mu",
                 "shapes": [{"kind": "template", "low": 0, "high": 2, "bins": [12, 11]}]},
                {"name": "background", "events": 102, "effects": {"norm": [0.9, 1.1]},
                 "shapes": [{"kind": "template", "low": 0, "high": 2, "bins": [50, 52]}]},
            ],
        }
    ],
    "parameters": [{"name": "mu", "start": 1, "low": 0, "high": 20}],
}  # fmt: skip
VALID = (
    r"valid: a pyhf workspace \(keys channels, observations, measurements, version\) or a model of portico "
    r"\(keys channels, parameters, poi\)"
)


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def changed(change: Callable[[dict[str, Any]], Any], spec: dict[str, Any] = SPEC) -> dict[str, Any]:
    copied = copy.deepcopy(spec)
    change(copied)
    return copied


def run(*arguments: object) -> Result:
    return CliRunner().invoke(limit, [str(argument) for argument in arguments])


# What it reads


def test_both_kinds_of_models_are_read(tmp_path: Path) -> None:
    workspace = read_model(write(tmp_path / "workspace.json", SPEC))
    assert isinstance(workspace, Workspace)
    assert (workspace.measurement, workspace.poi) == ("first", "mu")
    assert workspace.counts.tolist() == [51.0, 48.0]
    own = read_model(write(tmp_path / "own.json", OWN))
    assert isinstance(own, Model)
    assert own.poi == "mu"


def test_a_measurement_is_chosen(tmp_path: Path) -> None:
    def add(spec: dict[str, Any]) -> None:
        spec["channels"][0]["samples"][1]["modifiers"].append({**MU, "name": "k"})
        config = {"poi": "k", "parameters": [{"name": "mu", "fixed": True, "inits": [0.0]}]}
        spec["measurements"].append({"name": "second", "config": config})

    path = write(tmp_path / "workspace.json", changed(add))
    chosen = read_model(path, measurement="second")
    assert isinstance(chosen, Workspace)
    assert chosen.poi == "k"
    assert chosen.model.config.suggested_fixed()[chosen.model.config.par_map["mu"]["slice"]] == [True]
    with pytest.raises(ConfigError, match=r"no measurement 'secnd'; did you mean 'second'\? valid: first, second"):
        read_model(path, measurement="secnd")
    done = run(path)
    assert "note: measurement 'first' was taken, of first, second" in done.stdout
    with pytest.raises(ConfigError, match="a model of portico has no measurements; leave out 'first'"):
        read_model(write(tmp_path / "own.json", OWN), measurement="first")


PATCH = [{"op": "replace", "path": "/channels/0/samples/0/data", "value": [24.0, 22.0]}]


def patch_set(**metadata: Any) -> dict[str, Any]:
    names = {"double": PATCH, "none": [], "lost": [{"op": "remove", "path": "/observations/0"}]}
    return {
        "metadata": {
            "references": {"hepdata": "ins1234567"}, "description": "signals", "labels": ["x"],
            "digests": {"sha256": pyhf.utils.digest(SPEC)}, **metadata,
        },
        "patches": [
            {"metadata": {"name": name, "values": [i]}, "patch": patch} for i, (name, patch) in enumerate(names.items())
        ],
        "version": "1.0.0",
    }  # fmt: skip


def test_patches_are_applied_in_order(tmp_path: Path) -> None:
    path, patch = write(tmp_path / "workspace.json", SPEC), write(tmp_path / "signal.json", PATCH)
    of_set = f"{write(tmp_path / 'set.json', patch_set())}:double"
    limits = [
        json.loads(run(path, *arguments, "--json").stdout)["limit"]["observed"]
        for arguments in ([], ["--patch", patch], ["--patch", of_set])
    ]
    assert limits[1] == limits[2] == pytest.approx(limits[0] / 2, rel=1e-3)
    twice = [{"op": "test", "path": "/channels/0/samples/0/data", "value": [24.0, 22.0]}]
    read_model(path, [patch, write(tmp_path / "twice.json", twice)])
    with pytest.raises(InputError, match="does not fit"):
        read_model(path, [tmp_path / "twice.json", patch])
    assert json.loads(path.read_text()) == SPEC, "the file stays as it is"


@pytest.mark.parametrize(
    ("content", "name", "kind", "message"),
    [
        ([{"op": "remove", "path": "/channels/7"}], "", InputError,
         r"patch\.json does not fit .*model\.json: .*; a patch is made for one workspace"),
        ([{"op": "change", "path": "/channels"}], "", InputError, r"patch\.json: \[0\]: .*"),
        ({"a": 1}, "", InputError, r"neither a JSON Patch \(a list of operations\) nor a patch set of pyhf"),
        (PATCH, ":x", ConfigError, r"is not a patch set: it has no patch 'x'; leave the name out"),
        (patch_set(), "", ConfigError,
         r"this is a patch set; say which patch as .*patch\.json:NAME; valid: double, lost, none"),
        (patch_set(), ":duoble", ConfigError, r"no patch 'duoble'; did you mean 'double'\? valid: double, lost, none"),
        (patch_set(), ":lost", InputError, r"model\.json with .*patch\.json:lost: observations: is empty"),
        (patch_set(digests={"sha256": "0" * 64}), ":double", InputError,
         r"patch\.json belongs to another workspace than .*model\.json: the sha256 digest is 000.* there, and here"),
        ({**patch_set(), "patches": 2 * patch_set()["patches"]}, ":double", InputError, "two patches have the same"),
        (patch_set(labels=["a", "b", "c"]), ":double", InputError, r"has 1 values, and the labels are a, b, c"),
        ({**patch_set(), "patches": [{**of, "metadata": {**of["metadata"], "values": [1.0]}}
                                     for of in patch_set()["patches"]]}, ":double", InputError,
         r"patches '\w+' and '\w+' have the same values"),
        (patch_set(labels=[]), ":double", InputError, r"patch\.json: metadata\.labels: is empty"),
        ("{", "", InputError, r"patch\.json: not JSON, line 1"),
    ],
)  # fmt: skip
def test_patches_that_are_wrong(
    tmp_path: Path, content: object, name: str, kind: type[PorticoError], message: str
) -> None:
    path, patch = write(tmp_path / "model.json", SPEC), write(tmp_path / "patch.json", content)
    with pytest.raises(kind, match=message):
        read_model(path, [Path(f"{patch}{name}")])


def test_a_patch_set_with_many_patches_lists_some(tmp_path: Path) -> None:
    many = patch_set()
    patches = [{"metadata": {"name": f"m_{i}", "values": [i]}, "patch": []} for i in range(500)]
    path = write(tmp_path / "model.json", SPEC)
    with pytest.raises(ConfigError, match=r"no patch 'm_50o'; 500 patches, among them: m_50\d*, ") as error:
        read_model(path, [Path(f"{write(tmp_path / 'set.json', {**many, 'patches': patches})}:m_50o")])
    assert len(str(error.value)) < 300 + len(str(tmp_path))


# What it refuses


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not JSON: it is empty; " + VALID),
        ('{"channels": [', "not JSON, line 1: Expecting value; " + VALID),
        ("imax 1\njmax 1\nkmax *\n", "there is no line 'rate'"),
        ("<!DOCTYPE Combination  SYSTEM 'HistFactorySchema.dtd'>", "not XML: no element found"),
        ("root\0\0", "this ROOT file cannot be read"),
        ([1, 2], "expected an object with keys, found list; " + VALID),
        (PATCH, "this is a JSON Patch; give the workspace it belongs to, and this as --patch"),
        (patch_set(), "this is a patch set of pyhf; give the workspace it belongs to, and this as --patch FILE:NAME"),
        ({"distributions": [], "metadata": {"hs3_version": "0.2"}}, "HS3 without 'analyses'"),
        ({"schema_version": 2, "corrections": []}, "this looks like corrections of correctionlib"),
        ({"independent_variables": []}, "this looks like a table of HEPData"),
        ({"channels": SPEC["channels"]}, r"a model of pyhf without data; make a workspace of it with pyhf\.Workspace"),
        ({"alpha": 1, "beta": 2}, "no statistical model is known with the keys alpha, beta; " + VALID),
        ({}, r"no statistical model is known with the keys \(none\)"),
    ],
)  # fmt: skip
def test_what_is_foreign_is_named(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(InputError, match=r"model\.json: .*" + message):
        read_model(write(tmp_path / "model.json", content))


def sample(number: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda spec: spec["channels"][0]["samples"][number]


def put(number: int, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda spec: sample(number)(spec).update(values)


def modify(number: int, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda spec: sample(1)(spec)["modifiers"][number].update(values)


def config(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec["measurements"][0]["config"].update(values)


BAD: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda s: s.pop("measurements"), r"model\.json: key 'measurements' is missing"),
    (lambda s: s.update(version="2"), r'model\.json: version: expected "1\.0\.0", found "2"'),
    (lambda s: s.update(chanels=[]), r"unknown key 'chanels'; did you mean 'channels'\?"),
    (lambda s: s.update(channels=[]), r"channels: is empty"),
    (put(0, data=["a", 1.0]), r'channels\[0\]\.samples\[0\]\.data\[0\]: expected number, found "a"'),
    (put(0, data=[1.0]), r"channel 'A': 2 observed bins, but its samples have 1"),
    (put(1, data=[1.0]), r"channel 'A', sample 'background' has 1 bins, others of the channel have 2"),
    (put(1, data=[-1.0, 5.0]), r"channel 'A', sample 'background': expected events, bin 1 is -1: a yield must not be"),
    (lambda s: (put(0, data=[-1.0, 5.0])(s), config(parameters=[{"name": "mu", "bounds": [[-5.0, 5.0]]}])(s)),
     r"channel 'A', sample 'signal': expected events, bin 1 is -1"),
    (put(1, data=[1.0, float("nan")]), r"channel 'A', sample 'background': expected events, bin 2 is nan: that is no"),
    (put(0, data=[0.0, 0.0]), r"what 'mu' multiplies expects no events in any bin: there is no signal to limit"),
    (put(1, data=[0.0, 50.0]), r"channel 'A', bin 1: 51 observed where only signal is expected, which is impossible"),
    (lambda s: (put(0, data=[0.0, 1.0])(s), put(1, data=[0.0, 1.0])(s)), r"bin 1: 51 observed where nothing is expec"),
    (put(1, name="signal"), r"channel 'A', samples: the name 'signal' appears twice"),
    (modify(0, type="normsis"), r"modifier 'norm' has the unknown type 'normsis'; did you mean 'normsys'\? valid: his"),
    (modify(0, data={"lo": 1.0}), r"channels\[0\]\.samples\[1\]\.modifiers\[0\]: data: key 'hi' is missing"),
    (modify(0, data={"lo": 0.0, "hi": 1.1}), r"sample 'background', normsys 'norm': lo = 0\.0; a factor must be above"),
    (modify(0, type="histosys", data={"lo_data": [1.0], "hi_data": [1.0, 2.0]}), r"lo_data has 1 bins, the sample has"),
    (modify(0, type="lumi", name="lumi", data=None), r"has no uncertainty of the luminosity.*\"sigmas\""),
    (modify(0, name="mu"), r"pyhf cannot build a model from this workspace: InvalidNameReuse"),
    (modify(1, data=[1.0, -1.0]), r"sample 'background', staterror 'stat', bin 2 is -1: an uncertainty must not be"),
    (lambda s: s["observations"][0].update(name="B"), r"channel 'A' has no observations.*those of 'B' belong to no ch"),
    (modify(0, name="stat", type="staterror", data=[1.0, 2.0]),
     r"channel 'A', sample 'background': modifier 'stat' of type staterror appears twice; keep one"),
    (put(0, modifiers=[MU, MU]), r"channel 'A', sample 'signal': modifier 'mu' of type normfactor appears twice"),
    (put(0, modifiers=[MU, {**MU, "name": "k"}]),
     r"'mu' and 'k' are degenerate: both are free factors of the same samples \(channel 'A', sample 'signal'\)"),
    (lambda s: s["observations"][0].update(data=[1.0]), r"channel 'A': 1 observed bins, but its samples have 2"),
    (lambda s: s["observations"][0].update(data=[1.0, -1.0]), r"channel 'A': observed, bin 2 is -1: not a number of"),
    (lambda s: s["channels"].append(s["channels"][0]), r"channels: the name 'A' appears twice"),
    (config(poi="nu"), r"parameter of interest 'nu' of measurement 'first' is not a normfactor of any sample; valid"),
    (config(poi="norm"), r"parameter of interest 'norm' of measurement 'first' is not a normfactor"),
    (config(poi=""), r"measurement 'first' has no parameter of interest; set its 'poi' to a normfactor; valid: mu"),
    (put(0, modifiers=[]), r"is not a normfactor of any sample \(a workspace of the background alone needs the patch"),
    (config(parameters=[{"name": "mu", "fixed": True}]), r"fixes 'mu', its parameter of interest: leave out 'fixed'"),
    (config(parameters=[{"name": "mu", "bounds": [[5.0]]}]), r"the bounds of 'mu' are \[5\.0\], not two increasing"),
    (config(parameters=[{"name": "norm", "sigmas": [0.0]}]), r"parameter 'norm': sigmas has 0, not above 0; a"),
    (config(parameters=[{"name": "norm", "sigmas": [-1.0]}]), r"parameter 'norm': sigmas has -1, not above 0"),
    (config(parameters=[{"name": "norm", "auxdata": [float("nan")]}]), r"parameter 'norm': auxdata has nan"),
    (config(parameters=[{"name": "stat", "inits": [1.0, float("inf")]}]), r"parameter 'stat': inits has inf"),
    (config(parameters=[{"name": "norm", "bounds": [[1.0, 2.0]]}]), r"parameter 'norm' starts at 0, out of \[1, 2\]"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD, ids=range(len(BAD)))
def test_workspaces_that_are_not_sound(tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_model(write(tmp_path / "model.json", changed(change)))
    assert str(error.value).startswith(str(tmp_path / "model.json"))
    assert len(str(error.value)) < 450 + len(str(tmp_path))


def test_own_models_that_are_not_sound(tmp_path: Path) -> None:
    def empty(model: dict[str, Any]) -> None:
        model["channels"][0]["components"][1]["shapes"][0]["bins"] = [0, 102]

    path = tmp_path / "own.json"
    with pytest.raises(InputError, match=r"own\.json: channel 'A', bin 1: 51 observed where no background is expected"):
        read_model(write(path, changed(empty, OWN)))
    blind = changed(empty, OWN)
    blind["channels"][0]["blind"] = [[0, 1]]
    assert isinstance(read_model(write(path, blind)), Model)
    with pytest.raises(ConfigError, match=r"own\.json: unknown key 'poy'; did you mean 'poi'\?"):
        read_model(write(path, {**OWN, "poy": "mu"}))


def test_an_export_of_blinded_data_says_that_nothing_was_observed(tmp_path: Path) -> None:
    def blinded(model: dict[str, Any]) -> None:
        model["channels"][0]["blind"] = [[1, 2]]

    written = tmp_path / "workspace.json"
    exported = run(write(tmp_path / "own.json", changed(blinded, OWN)), "--export", f"pyhf={written}")
    assert exported.exit_code == 0, exported.output
    note = "note: observed limits are not from data: the data of the workspace are Asimov data of the"
    assert note in run(written).stdout
    assert note not in run(write(tmp_path / "seen.json", SPEC)).stdout


def test_nothing_is_asked_of_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    read_model(write(tmp_path / "model.json", SPEC))


# What it prints


def test_the_printed_text(tmp_path: Path) -> None:
    done = run(write(tmp_path / "model.json", SPEC), "--mu", 1, "--mu", 0.5)
    assert (done.exit_code, done.stderr) == (0, "")
    answer = infer(read_model(tmp_path / "model.json"), mus=[1.0, 0.5])
    assert answer.limit.observed is not None
    lines = [re.sub(r"\s+", " ", line).strip() for line in done.stdout.splitlines()]
    assert lines[0] == ("upper limits on mu at 0.95 CL, CLs, asymptotic: about 96.1 effective background events")
    assert lines[2] == "observed -2 sigma -1 sigma expected +1 sigma +2 sigma"
    rows = [(of.observed or 0.0, *of.expected) for of in (answer.limit, answer.points[0], answer.points[1])]
    names = ["limit", "CLs of mu = 1", "CLs of mu = 0.5"]
    assert lines[4:7] == [
        " ".join([name, *(f"{value:.4g}" for value in row)]) for name, row in zip(names, rows, strict=True)
    ]
    first, second = answer.points
    assert lines[7:] == [
        "-2 to +2 sigma: the quantiles 2.28%, 15.9%, 50%, 84.1%, 97.7%; Combine prints 2.5%, 16%, 50%, 84%, 97.5%",
        "",
        f"mu = 1: CLs+b = {first.clsb:.4g}, CLb = {first.clb:.4g}",
        f"mu = 0.5: CLs+b = {second.clsb:.4g}, CLb = {second.clb:.4g}",
        f"best fit: mu = {answer.best:.4g}; no signal: p = {answer.p_value:.3g}, {answer.significance:.2f} sigma",
    ]


def test_the_printed_text_while_blinded(tmp_path: Path) -> None:
    done = run(write(tmp_path / "model.json", SPEC), "--blind", "--cl", 0.9)
    assert done.exit_code == 0
    assert done.stdout.startswith("upper limits on mu at 0.9 CL, CLs, asymptotic: about 96.3 effective background")
    (row,) = [line.split() for line in done.stdout.splitlines() if line.startswith("limit")]
    assert row[1] == "-"
    assert done.stdout.endswith("blinded: no observed numbers\n")


def test_toys_are_thrown_where_asked_and_shown_with_their_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`test_toys` throws them; here it is what is passed on, and what is printed."""
    asked: list[tuple[Any, ...]] = []

    def toy_limit(model: object, folder: Path, *, toys: int, cl: float, **options: Any) -> Limit:
        asked.append((type(model), folder, toys, cl, options))
        bands, errors = (1.0, 2.0, 3.0, 4.0, 5.0), (0.11, 0.12, 0.13, 0.14, 0.15)
        return Limit("toys", 3.21, bands, 0.231, errors, ())

    def run_toys(model: object, mus: tuple[float, ...], toys: int, folder: Path, **options: Any) -> list[ToyStatistics]:
        asked.append((type(model), mus, toys, folder, options))
        return [ToyStatistics(mu, 2.0, np.arange(200.0) / 50, np.arange(200.0) / 80) for mu in mus]

    monkeypatch.setattr("portico.stats.toy_step.toy_limit", toy_limit)
    monkeypatch.setattr("portico.stats.toy_step.run_toys", run_toys)
    monkeypatch.chdir(tmp_path)
    path = write(Path("model.json"), SPEC)
    done = run(path, "--toys", 200, "--on", "dask", "--workers", 3, "--seed", 5, "--mu", 2)
    assert done.exit_code == 0
    (first, second) = asked
    assert first[:4] == (Workspace, Path("runs/model-toys/limit"), 200, 0.95)
    assert second[:4] == (Workspace, (2.0,), 200, Path("runs/model-toys/points"))
    for options in (first[4], second[4]):
        assert (options["on"], options["workers"], options["seed"], options["blind"]) == ("dask", 3, 5, False)
        assert options["reporter"] is not None
    lines = [re.sub(r"\s+", " ", line).strip() for line in done.stdout.splitlines()]
    assert lines[0] == (
        "upper limits on mu at 0.95 CL, CLs, toys: 200 of each hypothesis and strength; about 96.1 effective "
        "background events, mostly in channel 'A'"
    )
    assert lines[4:6] == ["limit 3.21 1 2 3 4 5", "+- from the number of toys 0.23 0.11 0.12 0.13 0.14 0.15"]
    assert lines[6].startswith("CLs of mu = 2 0.4 ")  # 40 of 200 toys above 2 with signal, 100 of 200 without
    assert lines[7].startswith("+- from the number of toys 0.063 ")
    assert lines[10] == "mu = 2: CLs+b = 0.2, CLb = 0.5"
    found = json.loads(run(path, "--toys", 200, "--run", "here", "--blind", "--json").stdout)
    assert asked[-1][1:3] == (Path("here/limit"), 200)
    assert (found["method"], found["limit"]["uncertainty"], found["best"]) == ("toys", 0.231, None)


def test_the_json(tmp_path: Path) -> None:
    path = write(tmp_path / "own.json", OWN)
    done = run(path, "--mu", 1, "--json")
    answer = infer(read_model(path), mus=[1.0])
    found = json.loads(done.stdout)
    assert list(found) == [
        "poi", "cl", "method", "why", "limit", "quantiles", "cls", "best", "p_value", "significance", "notes",
    ]  # fmt: skip
    assert (found["poi"], found["cl"], found["method"], found["notes"]) == ("mu", 0.95, "asymptotic", [])
    assert found["limit"]["expected"] == pytest.approx(answer.limit.expected)
    assert found["cls"][0]["mu"] == 1.0
    assert found["cls"][0]["observed"] == pytest.approx(answer.points[0].observed)
    assert found["best"] == pytest.approx(answer.best)
    assert found["quantiles"] == pytest.approx([0.02275, 0.15866, 0.5, 0.84134, 0.97725], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["none.json"], 2, "error: none.json: no such file"),
        (["model.json", "--patch", "none.json:a"], 2, "error: none.json:a: no such file"),
        (["model.json", "--cl", "1"], 2, "error: confidence level 1: it must lie between 0 and 1, for example 0.95"),
        (["model.json", "--mu", "0"], 2, "error: mu = 0: CLs needs a finite strength above 0"),
        (["model.json", "--backend", "torch"], 2, "'torch' is not one of 'numpy', 'jax', 'minuit'"),
        (["model.json", "--toys", "0"], 2, "0 is not in the range x>=1"),
        (["model.json", "--toys", "5", "--run", "toys"], 2, "error: 5 toys are too few, 100 are needed"),
        (["bad.json"], 1, "error: bad.json: key 'measurements' is missing"),
    ],
)
def test_wrong_usage_and_bad_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("model.json"), SPEC)
    write(Path("bad.json"), changed(lambda spec: spec.pop("measurements")))
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (status, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_errors_are_json_too(tmp_path: Path) -> None:
    done = run(tmp_path / "none.json", "--json")
    assert json.loads(done.stdout) == {"error": f"{tmp_path}/none.json: no such file", "kind": "ConfigError"}


def test_choices_are_completed() -> None:
    from click.shell_completion import ShellComplete

    complete = ShellComplete(limit, {}, "portico", "_PORTICO_COMPLETE")
    offered = [item.value for item in complete.get_completions(["model.json", "--backend"], "")]
    assert offered == ["numpy", "jax", "minuit"]
    assert "local" in [item.value for item in complete.get_completions(["model.json", "--on"], "lo")]


def test_the_help_has_examples_and_all_exit_statuses() -> None:
    text = " ".join(run("--help").stdout.split())
    assert "portico limit background.json --patch signal.json --mu 1" in text
    assert "Exit status: 0 done; 1 the model is invalid, or fits do not converge; 2 wrong usage." in text
