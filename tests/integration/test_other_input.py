"""Input beyond the file of a chunk: friends, columns that a file lacks, declared checksums, and input that shrank."""

from __future__ import annotations

import json
import re
from array import array
from pathlib import Path
from typing import Any

import pytest

import portico
from portico.analysis.analysis import load_analysis
from portico.errors import ConfigError, InputError, StepError
from portico.executors.local import LocalExecutor
from portico.files import summarise_each
from portico.files.storage import checksum_of
from portico.worker.given_sample import GivenSample
from tests.conftest import Remember

STEPS = """
import math

def plain(frame, sample):
    return {"n": frame.Count(), "sum": frame.Sum("x")}

def friend(frame, sample):
    return {"n": frame.Count(), "sum": frame.Sum("F.y")}

def available(frame, sample):
    there = frame.FilterAvailable("trigger")
    missing = frame.FilterMissing("trigger")
    return {"n": there.Filter("trigger == 1").Count(), "sum": missing.Sum("x"), "other": frame.Count(),
            "default": frame.DefaultValueFor("trigger", 7).Sum("trigger")}

def absent(frame, sample):
    if not frame.HasColumn("trigger"):
        frame = frame.Define("trigger", "1")
    return {"n": frame.Filter("trigger == 1").Count(), "sum": frame.Sum("x")}

def kept(frame, sample):
    return {"tree": frame.Snapshot("Events", "o.root", ["x"])}

def everything(frame, sample):
    return {"tree": frame.Snapshot("Events", "o.root")}

def needed(frame, sample):
    return {"n": frame.Filter("trigger == 1").Count()}

def matched(frame, sample):
    return {"tree": frame.Snapshot("Events", "o.root", "x|t.*")}

def called(frame, sample):
    return {"n": frame.Filter(lambda trigger: trigger == 1).Count()}

def bypassed(frame, sample):  # in C++, where none of the calls is seen
    import ROOT
    ROOT.gInterpreter.Declare('''ROOT::RDF::RNode with_t(ROOT::RDF::RNode n) {
      return n.Define("t", [](int t) { return 2 * t; }, {"trig" "ger"});
    }''')
    return {"sum": ROOT.with_t(ROOT.RDF.AsRNode(frame)).Sum("t")}

def graph(frame, sample):
    return {"g": frame.GraphAsymmErrors("x", "trigger", "x", "x", "x", "x")}

def named(frame, sample):
    return {"n": frame.Filter("true" if any("2018" in file for file in sample.files) else "false").Count()}

def listed(frame, sample):
    import ROOT
    return {"tree": frame.Snapshot("Events", "o.root", ROOT.std.vector["std::string"](["x", "trigger"]))}
"""


def write(
    root: Any, path: Path, columns: dict[str, list[int]], tree: str = "Events", mode: str = "RECREATE",
    friends: tuple[tuple[Any, ...], ...] = (), index: str = "",
) -> Path:  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    file = root.TFile.Open(str(path), mode)
    made = root.TTree(tree, "")
    values = {name: array("i", [0]) for name in columns}
    for name, value in values.items():
        made.Branch(name, value, f"{name}/I")
    for row in zip(*columns.values(), strict=True):
        for value, number in zip(values.values(), row, strict=True):
            value[0] = number
        made.Fill()
    if index:
        made.BuildIndex(index)
    for friend in friends:
        made.AddFriend(*friend)
    made.Write("", root.TObject.kOverwrite)
    file.Close()
    return path


def run(
    folder: Path, samples: str, steps: str, executor: LocalExecutor, reporter: Remember | None = None, **options: Any
) -> portico.Run:
    (folder / "mysteps.py").write_text(STEPS)
    each = "".join(f"  - {{name: {step}, function: 'mysteps:{step}'}}\n" for step in steps.split())
    (folder / "analysis.yaml").write_text(
        f"name: test\nchunk: 10 entries\ndataset:\n  tree: Events\n  samples:\n{samples}\nsteps:\n{each}"
    )
    return portico.run(
        load_analysis(folder), folder=folder / "run", executor=executor, reporter=reporter or Remember(), **options
    )


TEN, TENS = list(range(10)), [10] * 10


def test_friends_are_read_and_are_input(
    root: Any, single: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, far = tmp_path / "data", write(root, tmp_path / "g.root", {"y": TENS}, "F")
    write(root, data / "f.root", {"y": TENS}, "F")
    monkeypatch.chdir(data)
    write(root, data / "relative.root", {"x": TEN}, friends=(("F", "f.root"),))
    write(root, data / "whole.root", {"x": TEN}, friends=(("F", str(far)),))
    write(root, data / "same.root", {"y": [1] * 10}, "F")
    write(root, data / "same.root", {"x": TEN}, mode="UPDATE", friends=(("F",),))
    write(root, data / "other.root", {"y": TENS}, "G")
    write(root, data / "named.root", {"x": TEN}, friends=(("F = G", "other.root"),))
    write(root, tmp_path / "i.root", {"x": [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], "y": TEN}, "F", index="x")
    write(root, data / "index.root", {"x": [0, 9, 5]}, index="x", friends=(("F", str(tmp_path / "i.root")),))
    monkeypatch.chdir(tmp_path)
    data = data.rename(tmp_path / "data [1]?")
    names = ("relative", "whole", "same", "named", "index")
    samples = "\n".join(f'    {name}: {{files: ["{data.name}/{name}.root"]}}' for name in names)
    found = run(tmp_path, samples, "friend", single)["friend"]
    assert {name: found[name]["sum"] for name in names} == {
        "relative": 100, "whole": 100, "same": 10, "named": 100, "index": 9 + 0 + 4,
    }  # fmt: skip
    write(root, far, {"y": [20] * 10}, "F", mode="UPDATE")
    reporter = Remember()
    found = run(tmp_path, samples, "friend", single, reporter)["friend"]
    assert {name: found[name]["sum"] for name in names[:3]} == {"relative": 100, "whole": 200, "same": 10}
    assert reporter.ran == {"friend": 1}
    far.unlink()
    with pytest.raises(InputError, match=r"whole\.root: its friend 'F' cannot be used: .*g\.root: no such file"):
        run(tmp_path, samples, "friend", single)


def test_friends_that_cannot_be_used_are_errors(root: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, tmp_path / "short.root", {"y": TENS}, "F")
    write(root, tmp_path / "sub" / "f.root", {"y": TENS}, "F")
    monkeypatch.chdir(tmp_path / "sub")
    write(root, tmp_path / "sub" / "a.root", {"x": TEN}, friends=(("F", "f.root"),))
    write(root, tmp_path / "sub" / "b.root", {"x": TEN}, friends=(("F", str(tmp_path / "short.root")),))
    write(root, tmp_path / "sub" / "c.root", {"x": TEN}, friends=(("F", str(tmp_path / "sub" / "f.root")),))
    write(root, tmp_path / "short.root", {"y": [1] * 5}, "F")
    monkeypatch.chdir(tmp_path)

    def error(name: str) -> str:
        (found,) = summarise_each([str(tmp_path / "sub" / name)], "Events")
        return str(found) if isinstance(found, InputError) else ""

    assert error("a.root") == ""
    assert "'F' in " in error("b.root")
    assert "has 5 entries, fewer than the 10 of 'Events'" in error("b.root")
    write(root, tmp_path / "f.root", {"y": TENS}, "F")
    assert f"may be {tmp_path}/sub/f.root or {tmp_path}/f.root" in error("a.root")
    (tmp_path / "f.root").unlink()
    (tmp_path / "sub" / "f.root").unlink()
    assert f"is missing: there is no {tmp_path}/sub/f.root" in error("a.root")
    assert "f.root: no such file" in error("c.root")
    write(root, tmp_path / "sub" / "f.root", {"y": TENS}, "G")
    assert "no tree 'F'" in error("c.root")
    chain = root.TChain("F")  # at which ROOT itself ends the process, when it reads the tree
    chain.Add(str(tmp_path / "short.root"))
    write(root, tmp_path / "sub" / "d.root", {"x": TEN}, friends=((chain,),))
    assert re.search("no tree 'F'.*of a TChain as friend ROOT stores no files", error("d.root"))


def test_columns_that_some_files_lack(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    odd = [i % 2 for i in TEN]
    for name in ("b", "a"):
        write(root, tmp_path / f"{name}.root", {"x": TEN} if name == "b" else {"x": TEN, "trigger": odd})
    write(root, tmp_path / "c.root", {"trigger": odd, "other": TEN, "x": TEN})
    samples = "    s: {files: [b.root, a.root, c.root]}\n    t: {files: [a.root, c.root, b.root]}"
    done = run(tmp_path, samples, "available absent", single)
    for sample in ("s", "t"):
        found = done["available"][sample]
        assert [found[name] for name in ("n", "sum", "other", "default")] == [10, 45, 30, 80]
        assert (done["absent"][sample]["n"], done["absent"][sample]["sum"]) == (20, 135)
    with pytest.raises(
        StepError, match=r"(?s)b\.root entries 0-9: .*trigger.*differs from .*column 'trigger' is missing"
    ):
        run(tmp_path, samples, "needed", single)


def test_declared_checksums_are_enforced(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    path = write(root, tmp_path / "a.root", {"x": TEN})
    right, wrong = checksum_of(path), "0badc0de"
    entry = "    s: {{files: [{{path: a.root, adler32: '{}'}}]}}"
    assert run(tmp_path, entry.format(right.upper()), "plain", single)["plain"]["s"]["n"] == 10
    with pytest.raises(
        InputError, match=rf"a\.root: has the Adler-32 {right}, by reading it on .* but 'adler32: {wrong}' is declared"
    ):
        run(tmp_path, entry.format(wrong), "plain", single)
    write(root, tmp_path / "b.root", {"x": TENS})
    (tmp_path / "list.json").write_text(f'[{{"path": "a.root", "adler32": "{wrong}"}}, "b.root"]')
    found = run(tmp_path, "    s: {files: list.json}", "plain", single, allow_partial=True, accept_changed_input=True)
    assert (found["plain"]["s"]["n"], found.partial) == (10, True)
    for text, words in (
        ("{path: a.root, adler: '00000000'}", r"unknown key 'adler'.*adler32"),
        ("{path: a.root, adler32: 12345678}", "eight hexadecimal digits in quotes"),
        ("{path: '*.root', adler32: '00000000'}", "belongs to one file, but 2 match"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(tmp_path, f"    s: {{files: [{text}]}}", "plain", single)


def test_a_file_in_two_samples_is_a_warning(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    write(root, tmp_path / "a.root", {"x": TEN})
    (tmp_path / "link.root").symlink_to("a.root")
    reporter = Remember()
    samples = "    s: {files: [a.root]}\n    t: {files: [a.root]}\n    u: {files: [link.root]}"
    run(tmp_path, samples, "plain absent", single, reporter)
    assert [w.replace(f"{tmp_path}/", "") for w in reporter.warnings] == [
        "samples 's' and 't' both read the same file: a.root",
        "samples 's' and 'u' both read the same file: link.root is the same file as a.root",
    ]
    with pytest.raises(ConfigError, match=r"link\.root is the same file as .*a\.root and would count twice"):
        run(tmp_path, "    s: {files: [a.root, link.root]}", "plain", single)


def test_input_that_shrank_must_be_accepted(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    for name in "abc":
        write(root, tmp_path / f"{name}.root", {"x": TEN})
    samples, kept = '    s: {files: ["*.root"]}', tmp_path / "c.kept"

    def n(**options: Any) -> tuple[int, float]:
        found = run(tmp_path, samples, "plain", single, **options)["plain"]["s"]
        return found["n"], found["sum"]

    assert n() == (30, 135)
    (tmp_path / "c.root").rename(kept)
    words = r"'s': 2 files with 20 entries, but 3 files with 30 entries when .*: .*c\.root is gone\n.*--accept-changed"
    with pytest.raises(InputError, match=words):
        n()
    with pytest.warns(UserWarning, match="step 'plain', 's': made with other options"):
        assert portico.load(tmp_path / "run")["plain"]["s"]["n"] == 30
    kept.rename(tmp_path / "c.root")
    reporter = Remember()
    assert n(reporter=reporter) == (30, 135)
    assert reporter.ran == {"plain": 0}
    (tmp_path / "c.root").rename(kept)
    reporter = Remember()
    assert n(accept_changed_input=True, reporter=reporter) == (20, 90)
    assert "c.root is gone" in reporter.warnings[0]
    kept.rename(tmp_path / "d.root")
    assert n() == (30, 135)
    write(root, tmp_path / "a.root", {"x": [1]})
    with pytest.raises(InputError, match=r"3 files with 21 entries, but 3 .*a\.root has 1 entries, not 10"):
        n()


def test_names_of_any_kind_and_trees_in_folders(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    names = ["a b", "ü日", "a#b", "a%20b", "a&b", "a=b", "a;b", "a|b", "a,b", "a\\b", "a'b", "a:b", "a?b", "a*b",
             "a[1]", "a{b}", "~a", "-a", "a$HOME", "${a", "a\tb", "a\nb"]  # fmt: skip
    folder = tmp_path / "data [1]?#"
    for number, name in enumerate(names):
        write(root, tmp_path / "t.root", {"x": [*TEN, number]}).rename(tmp_path / f"{name}.root")
    (tmp_path / "list.json").write_text(json.dumps([f"{name}.root" for name in names]))
    file = root.TFile.Open(str(tmp_path / "nested.root"), "RECREATE")
    file.mkdir("d 1").mkdir("d2").cd()
    for name, values in (("Events", TENS), ("Events", TEN), ("E=v", TENS)):  # two cycles: the last counts
        tree, x = root.TTree(name, ""), array("i", [0])
        tree.Branch("x", x, "x/I")
        for x[0] in values:
            tree.Fill()
        tree.Write()
    file.Close()
    (tmp_path / "cut.root").write_bytes((tmp_path / "nested.root").read_bytes()[:-300])
    samples = "    s: {files: list.json}\n    n: {files: nested.root, tree: d 1/d2/Events}\n"
    samples += "    e: {files: nested.root, tree: d 1/d2/E=v}"
    (tmp_path / "mysteps.py").write_text(STEPS)
    (tmp_path / "analysis.yaml").write_text(
        f"name: test\ndataset:\n  tree: Events\n  samples:\n{samples}\nsteps:\n"
        "  - {name: kept, function: 'mysteps:kept'}\n  - {name: plain, function: 'mysteps:plain', input: kept}\n"
    )
    done = portico.run(load_analysis(tmp_path), folder=folder, executor=single)["plain"]
    assert (done["s"]["n"], done["s"]["sum"]) == (11 * len(names), 45 * len(names) + sum(range(len(names))))
    assert (done["n"]["n"], done["n"]["sum"]) == (10, 45)
    assert done["e"]["sum"] == sum(TENS)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("data") and path != folder]
    (found,) = summarise_each([str(tmp_path / "cut.root")], "d 1/d2/Events")
    assert "truncated" in str(found)


def test_trees_that_root_cannot_find_and_columns_that_uproot_cannot_read(root: Any, tmp_path: Path) -> None:
    """The first are told in words, the second are no reason to refuse the file."""
    for name in ("a/b", "a;1"):
        write(root, tmp_path / "odd.root", {"x": TEN}, tree=name)
        (found,) = summarise_each([str(tmp_path / "odd.root")], name)
        assert str(found).endswith(f"ROOT cannot find the tree '{name}', since its own name contains '/' or ';'; write "
                                   "it again under another name")  # fmt: skip
    root.gInterpreter.ProcessLine(f"""{{
      TFile file("{tmp_path}/half.root", "RECREATE");
      TTree tree("Events", "");
      int n = 2;
      Float16_t half[2] = {{1, 2}};
      tree.Branch("n", &n, "n/I");
      tree.Branch("half", half, "half[n]/f[0,100,12]");
      tree.Fill();
      file.Write();
    }}""")
    (whole,) = summarise_each([str(tmp_path / "half.root")], "Events")
    assert not isinstance(whole, InputError)
    assert {column.name: column.type for column in whole.columns} == {"n": "int32_t", "half": "half[n]/f[0,100,12]"}


def test_columns_in_another_file_are_refused(root: Any, tmp_path: Path) -> None:
    file = root.TFile.Open(str(tmp_path / "a.root"), "RECREATE")
    tree, x = root.TTree("Events", "not in x.root"), array("i", [0])
    tree.Branch("x", x, "x/I")
    tree.Write()
    tree.Branch("y", x, "y/I").SetFile(str(tmp_path / "other.root"))
    tree.Fill()
    tree.SetName("Split")
    tree.Write()
    file.Close()
    (whole,) = summarise_each([str(tmp_path / "a.root")], "Events")
    assert whole.columns[0].name == "x"
    (found,) = summarise_each([str(tmp_path / "a.root")], "Split")
    assert re.search(r"a\.root: 'Split': the column 'y' lies in another file, .*other\.root", str(found))


def test_a_step_cannot_depend_on_where_its_events_lie(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    write(root, tmp_path / "2018.root", {"x": TEN})
    with pytest.raises(StepError, match=r"sample 's': a step does not know 'files', .*sample's 'parameters'"):
        run(tmp_path, "    s: {files: 2018.root}", "named", single)
    given = GivenSample(name="s", parameters={"era": 2018}, luminosity=3.0)
    assert (given.number("era"), given.luminosity, given) == (2018, 3.0, given.model_copy())
    assert GivenSample(name="s", entries=4).files == ()
    for name in ("replicas", "checksums", "reads"):
        with pytest.raises(StepError, match=f"does not know '{name}'"):
            getattr(given, name)


@pytest.mark.parametrize(
    "steps",
    [("needed",),
     pytest.param(("everything", "matched", "called", "bypassed", "graph", "listed"), marks=pytest.mark.full)],
)  # fmt: skip
def test_columns_that_end_before_the_tree(
    root: Any, single: LocalExecutor, tmp_path: Path, steps: tuple[str, ...]
) -> None:
    file = root.TFile.Open(str(tmp_path / "a.root"), "RECREATE")
    tree, x, y = root.TTree("Events", ""), array("i", [0]), array("i", [0])
    tree.Branch("x", x, "x/I")
    tree.Branch("trigger", y, "trigger/I")
    for x[0] in TEN:
        tree.GetBranch("x").Fill()
    tree.GetBranch("trigger").Fill()
    tree.SetEntries(10)
    tree.Write()
    file.Close()
    assert run(tmp_path, "    s: {files: a.root}", "plain", single)["plain"]["s"]["sum"] == 45
    for step in steps:
        with pytest.raises(InputError, match=r"a\.root entries 0-9: .*'trigger' has fewer entries than the tree"):
            run(tmp_path, "    s: {files: a.root}", step, single)
