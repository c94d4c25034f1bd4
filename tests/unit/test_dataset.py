"""Datasets and analyses: what is accepted, and what the errors say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portico.analysis.analysis import load_analysis
from portico.analysis.dataset import Sample, load_dataset
from portico.config import parse, read_yaml
from portico.errors import ConfigError, InputError, PorticoError


def write(folder: Path, text: str, name: str = "datasets.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("b.root", "a.root", "c.txt.root"):
        (tmp_path / name).write_bytes(b"root")
    return tmp_path


def test_paths_globs_lists_and_urls(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "list.txt").write_text("# a list\nroot://server//x.root\n\nb.root  # the second\n")
    (data / "list.json").write_text(json.dumps(["a.root"]))
    monkeypatch.setenv("PORTICO_TEST_FOLDER", str(data))
    path = write(
        data,
        """
        tree: T
        luminosity: 41.6
        samples:
          one: {files: "*.root", kind: signal, cross_section: 2.5, parameters: {mass: 1.0, ctau: 10, label: x}}
          two: {files: [list.txt, list.json], tree: U}
          three: {files: ["${PORTICO_TEST_FOLDER}/a.root"]}
          four: {entries: 100, kind: background}
        """,
    )
    dataset = load_dataset(path)
    assert [Path(f).name for f in dataset["one"].files] == ["a.root", "b.root", "c.txt.root"]
    assert dataset["one"].parameters == {"mass": 1.0, "ctau": 10, "label": "x"}
    assert (dataset["one"].tree, dataset["two"].tree) == ("T", "U")
    assert dataset["two"].files == ("root://server//x.root", str(data / "b.root"), str(data / "a.root"))
    assert dataset["three"].files == (str(data / "a.root"),)
    assert dataset["four"].entries == 100
    assert dataset["one"].luminosity == 41.6
    assert dataset.matching(("two", "one")) == ("two", "one")
    assert dataset.matching(["t*", "one", "two"]) == ("two", "three", "one")
    assert dataset.matching(()) == ()


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (
            "samples: {s: {files: a.root, cross_secton: 1}}",
            ConfigError,
            ["s", "cross_secton", "did you mean 'cross_section'"],
        ),
        ("samples: {s: {files: a.root, kind: sgnal}}", ConfigError, ["kind", "signal"]),
        ("samples: {s: {files: a.root, cross_section: many}}", ConfigError, ["cross_section", "'many'"]),
        ("samples: {s: {files: a.root, filter_efficiency: 1.5}}", ConfigError, ["filter_efficiency", "1.5"]),
        ("samples: {s: {files: a.root, luminosity: .nan}}", ConfigError, ["luminosity"]),
        ("sample: {}", ConfigError, ["unknown key 'sample'", "samples"]),
        ("samples: {}", ConfigError, ["samples"]),
        ("samples: {s: {}}", ConfigError, ["files", "entries"]),
        ("samples: {s: {files: a.root, entries: 5}}", ConfigError, ["either"]),
        ("samples: {s: {files: a.root}, s: {files: b.root}}", ConfigError, ["'s' appears twice"]),
        ("samples: {s: {files: [a.root, a.root]}}", ConfigError, ["listed twice"]),
        ("samples: {'a/b': {files: a.root}}", ConfigError, ["a/b"]),
        ("samples: [1, 2]", ConfigError, ["key 'samples': must be a mapping (found [1, 2])"]),
        ("- 1", ConfigError, ["mapping"]),
        ("samples: {s: {files: a.root", ConfigError, ["not valid YAML"]),
        ("samples: {s: {files: missing.root}}", InputError, ["missing.root", "samples.s"]),
        ("samples: {s: {files: 'x*.root'}}", InputError, ["no file matches"]),
        ("samples: {s: {files: '.'}}", InputError, ["folder", "*.root"]),
        ("samples: {s: {files: none.txt}}", InputError, ["none.txt"]),
        ("samples: {s: {files: '${PORTICO_SURELY_UNSET}/a.root'}}", ConfigError, ["PORTICO_SURELY_UNSET"]),
        ("samples: {s: !!python/object/apply:os.system ['true']}", ConfigError, ["not valid YAML"]),
    ],
)
def test_wrong_datasets_are_explained(data: Path, text: str, error: type[PorticoError], words: list[str]) -> None:
    path = write(data, text)
    with pytest.raises(error) as caught:
        load_dataset(path)
    message = str(caught.value)
    assert str(path) in message
    for word in words:
        assert word in message


def test_words_are_what_they_look_like(tmp_path: Path) -> None:
    """YAML 1.1 has 1e-3 as text, 12:30:00 as 45,000 and 000123 as 83, and calls a sample 2016_1 20161."""
    text = "{a: [1e-3, 1.5e3, -2E+4, .5e1, 1_000, 07, 0x1F], b: [12:30:00, 1:30.5, 1e, e5, 0e], 2018: x, 1.5: y}"
    content = read_yaml(write(tmp_path, text))
    assert [(type(value), value) for value in content["a"]] == [
        (float, 1e-3), (float, 1500.0), (float, -2e4), (float, 5.0), (int, 1000), (int, 7), (int, 31),
    ]  # fmt: skip
    assert content["b"] == ["12:30:00", "1:30.5", "1e", "e5", "0e"]
    assert list(content) == ["a", "b", 2018, 1.5]
    for wrong, words in (
        ("{run: 000123}", "000123 is 83 in octal digits; write it without leading zeros, or in quotes"),
        ("{2016_1: 1}", "key '2016_1' is read as 20161; write it in quotes"),
        ("{no: 1}", "key 'no' is read as False; write it in quotes"),
        ("{1.10: 1}", "key '1.10' is read as 1.1; write it in quotes"),
    ):
        with pytest.raises(ConfigError, match=words):
            read_yaml(write(tmp_path, wrong))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_dataset(tmp_path / "none.yaml")


def analysis(steps: str) -> str:
    return f"name: test\ndataset: {{samples: {{s: {{entries: 5}}}}}}\nsteps:\n{steps}"


def test_an_analysis_is_found_by_its_folder(tmp_path: Path) -> None:
    write(tmp_path, analysis("  - {name: one, function: 'm:f', chunk: 10 entries, options: {x: 1}}"), "analysis.yaml")
    loaded = load_analysis(tmp_path)
    assert loaded.folder == tmp_path
    assert loaded.chunk_size(loaded.steps[0]).entries == 10


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ("  - {name: a, function: 'm:f'}\n  - {name: a, function: 'm:f'}", ["two steps are named 'a'"]),
        ("  - {name: a, function: 'm:f', input: skimm}\n", ["'skimm'", "dataset"]),
        ("  - {name: a, function: 'm:f', chunk: big}\n", ["'big'", "50 MB"]),
        ("  - {name: a, functoin: 'm:f'}\n", ["functoin", "did you mean 'function'"]),
        ("  - {name: a}\n", ["function", "missing"]),
        ("  - {name: 1, function: 'm:f', samples: s}\n", ["name': must be text (found 1)", "samples': must be a list"]),
        ("  {a: {function: 'm:f'}}\n", ["key 'steps': must be a list (found {"]),
        ("  - {name: a, function: 'm:f', samples: [t]}\n", ["no sample 't'"]),
    ],
)
def test_wrong_analyses_are_explained(tmp_path: Path, steps: str, words: list[str]) -> None:
    write(tmp_path, analysis(steps), "analysis.yaml")
    with pytest.raises(ConfigError) as caught:
        load_analysis(tmp_path)
    for word in words:
        assert word in str(caught.value)


def test_a_folder_without_analysis_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="portico init"):
        load_analysis(tmp_path)


def test_a_value_of_none_of_several_types_is_told_once() -> None:
    for value, key, found in (([1, {"b": 2}], "mass.1", "{'b': 2}"), ({"a": [1]}, "mass.a", "[1]")):
        with pytest.raises(ConfigError) as raised:
            parse(Sample, {"name": "a", "entries": 1, "parameters": {"mass": value}}, "datasets.yaml")
        expected = "must be a valid boolean, a valid integer, a valid number or text"
        assert str(raised.value) == f"datasets.yaml: key 'parameters.{key}': {expected} (found {found})"
