"""Findings in scripts, each rule with what it finds and what it leaves alone, and analyses that are made of scripts."""

from __future__ import annotations

import ast
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from portico.analysis.analysis import load_analysis
from portico.cli import cli
from portico.errors import ConfigError
from portico.lint import Finding, Script, check, plain, read_script, write
from portico.lint.values import UNKNOWN
from tests.tutorials import NAMES, folder_of_tutorials

PAGE = Path(__file__).parents[2] / "docs" / "porting.md"
HEAD = 'import ROOT\ndf = ROOT.RDataFrame("Events", "events.root")\n'
MODEL = '("pt", ";p_{T} (GeV);events", 50, 0, 100)'


def script_of(tmp_path: Path, code: str) -> Script:
    path = tmp_path / "script.py"
    path.write_text(code)
    return read_script(path)


def found(tmp_path: Path, code: str) -> list[Finding]:
    return check(script_of(tmp_path, code))


def rules(tmp_path: Path, code: str) -> list[tuple[int, str, str]]:
    return [(one.line, one.level, one.rule) for one in found(tmp_path, code)]


CLEAN = """\
import os
import ROOT

FILES = [os.path.join("data", name) for name in ("a.root", "b.root")]
ROOT.gInterpreter.Declare('''
#include <cmath>
static const double scale = 1.2;
double scaled(double x) { return scale * std::abs(x); }
''')


def select(df, threshold):
    good = df.Filter("nMuon >= 2", "two muons").Filter(f"Muon_pt[0] > {threshold}")
    return good.Define("lead", "Muon_pt[0]").Define("best", "Muon_pt[Muon_tight]").Filter("best.size() > 0")


def main():
    df = ROOT.RDataFrame("Events", FILES)
    chosen = select(df, 20)
    hists = {}
    for name in ["lead", "MET"]:
        hists[name] = chosen.Histo1D((name, "", 50, 0, 100), name)
    n, report = chosen.Count(), chosen.Report()
    skim = chosen.Define("first", "best[0]").Snapshot("Events", "skim.root", ["first"])
    print(n.GetValue(), "events")
    report.Print()
    canvas = ROOT.TCanvas()
    for name, h in hists.items():
        h.Draw()
        canvas.SaveAs(f"{name}.pdf")
    ratio = n.GetValue() / 2


if __name__ == "__main__":
    main()
"""


def test_a_correct_script_has_no_findings(tmp_path: Path) -> None:
    assert found(tmp_path, CLEAN) == []


@pytest.mark.parametrize(
    "code",
    [
        pytest.param('df.Filter("Muon_pt.size() > 0").Filter("Muon_pt[0] > 5").Count().GetValue()', id="size"),
        pytest.param('df.Filter("nMuon > 0 && Muon_pt[0] > 5").Count().GetValue()', id="in the same expression"),
        pytest.param('df.Define("x", "nMuon > 0 ? Muon_pt[0] : -1.f").Count().GetValue()', id="with a default"),
        pytest.param('df.Filter("two_muons(Muon_pt)").Filter("Muon_pt[1] > 5").Count().GetValue()', id="function"),
        pytest.param('import mine\nmine.cut(df).Filter("Muon_pt[1] > 5").Count()', id="a function of another module"),
        pytest.param('df.Define("two", "nMuon == 2").Filter("two").Filter("Muon_pt[1] > 5").Count()', id="column"),
        pytest.param('df.Define("p", "boost(Muon_pt)").Define("px", "p[0]").Count().GetValue()', id="own column"),
        pytest.param('df.Define("x", "Muon_pt[best]").Count().GetValue()', id="an index in a column"),
        pytest.param("h = df.Histo1D(" + MODEL + ', "pt")\nh.SetTitle("")\nh.Draw()\nh.GetMean()', id="reading twice"),
        pytest.param('a, b = df.Count(), df.Sum("x")\nprint(a.GetValue(), b.GetValue())', id="one loop for two"),
        pytest.param(
            'for name in ("a", "b"):\n    d = ROOT.RDataFrame("Events", name + ".root")\n    d.Count().GetValue()',
            id="a loop each for two inputs",
        ),
        pytest.param(
            'import sys\nif len(sys.path) > 3:\n    print(df.Count().GetValue())\nelse:\n    n = df.Sum("x")',
            id="either of two",
        ),
        pytest.param(
            'import sys\nif len(sys.path) > 3:\n    df.Count().GetValue()\n    sys.exit()\nn = df.Sum("x")',
            id="or it ends",
        ),
        pytest.param("cut = 5\ndef f():\n    global cut\n    return cut", id="a global that nothing changes"),
        pytest.param("p = df.Define('x', 'vertex[0]').Filter('flags[2] > 0').Count()", id="arrays of fixed size"),
        pytest.param("import pandas\ntable = pandas.read_csv('/home/me/table.csv', mode='w')", id="a file written"),
        pytest.param("ROOT.gInterpreter.Declare('#include \"TH1D.h\"')", id="a header of ROOT"),
        pytest.param(
            "ROOT.gInterpreter.Declare('#include <vector>\\nint f(int x) { int n = 0; return n + x; }')", id="C++"
        ),
    ],
)
def test_what_is_right_is_left_alone(tmp_path: Path, code: str) -> None:
    assert found(tmp_path, HEAD + code) == []


UNUSUAL = {("result-in-graph", "error"), ("unfinished", "warning"), ("no-frame", "note")}
RULES = [
    ('df.Define("i", "rdfentry_")', 3, "error", "local-entry"),
    ('df.DefineSlotEntry("i", "f")', 3, "error", "local-entry"),
    ('df.Filter(lambda rdfentry_: rdfentry_ < 5, ["rdfentry_"])', 3, "error", "local-entry"),
    ("few = df.Range(100)", 3, "warning", "range"),
    ('h = df.Histo1D("pt")', 3, "error", "no-model"),
    ('h = (df\n  .Filter("x > 0")\n  .Histo2D("x", "y"))', 5, "error", "no-model"),
    ('df.Snapshot("t", "out.root")', 3, "error", "snapshot"),
    ("n = df.Count().GetValue()\nm = df.Sum('x')", 3, "error", "extra-loop"),
    ("n = df.Count()\nprint(n.GetValue())\nm = df.Sum('x')\nprint(m.GetValue())", 4, "error", "extra-loop"),
    ("for cut in ('a', 'b'):\n    print(df.Filter(cut).Count().GetValue())", 4, "error", "extra-loop"),
    ("for cut in make():\n    print(df.Filter(cut).Count().GetValue())", 4, "error", "extra-loop"),
    ("df.Foreach(lambda x: print(x), ['x'])", 3, "error", "foreach"),
    ("a = df.AsNumpy(['x'])\nlow = a['x'].min()\nb = df.Count()", 4, "error", "extra-loop"),
    ("total = df.Aggregate(f, g, 'x')", 3, "error", "product"),
    ('h = df.Filter("Muon_pt[0] > 20")', 3, "warning", "index"),
    ('h = df.Define("lead", "Muon_pt[Muon_tight][0]")', 3, "warning", "index"),
    ("ROOT.EnableImplicitMT(8)", 3, "note", "threads"),
    ("ROOT.gInterpreter.Declare('#include \"mine.h\"')", 3, "error", "include"),
    ("ROOT.gInterpreter.Declare(f'#include \"{folder()}/mine.h\"')", 3, "error", "include"),
    ("ROOT.gROOT.LoadMacro(find('mine.C'))", 3, "error", "include"),
    ("ROOT.gInterpreter.Declare('''\nint n = 0;\nbool f() { return ++n > 5; }\n''')", 4, "warning", "global"),
    ("ROOT.gInterpreter.Declare('bool f() { static int n = 0; return ++n > 5; }')", 3, "warning", "global"),
    ("n = 0\ndef count(x):\n    global n\n    n += 1", 5, "warning", "global"),
    ("import sys\nname = sys.argv[1]", 4, "warning", "arguments"),
    ("d = ROOT.RDF.Experimental.FromSpec('spec.json')", 3, "warning", "from-spec"),
    ("d = ROOT.RDF.FromCSV('table.csv')", 3, "error", "not-files"),
    ("d = ROOT.RDataFrame('Events', '/home/me/events.root')", 3, "warning", "local-path"),
    ("import numpy as np\nw = np.loadtxt('/afs/cern.ch/user/m/me/weights.txt')", 4, "warning", "local-path"),
]


@pytest.mark.parametrize(("code", "line", "level", "rule"), RULES)
def test_each_rule_finds_its_line(tmp_path: Path, code: str, line: int, level: str, rule: str) -> None:
    (finding,) = [one for one in found(tmp_path, HEAD + code) if one.rule == rule]
    assert (finding.line, finding.level) == (line, level)
    assert finding.why
    assert finding.fix


def test_range_under_threads_is_an_error(tmp_path: Path) -> None:
    assert rules(tmp_path, HEAD + "ROOT.EnableImplicitMT()\nfew = df.Range(100)") == [
        (3, "note", "threads"), (4, "error", "range"),
    ]  # fmt: skip


def test_a_graph_that_depends_on_a_result_needs_two_steps(tmp_path: Path) -> None:
    code = HEAD + 'n = df.Count()\nw = 1.0 / n.GetValue()\nd = df.Define("w", f"{w}")\nh = d.Sum("w")\n'
    assert rules(tmp_path, code) == [(4, "error", "extra-loop"), (5, "error", "result-in-graph")]


def test_words_are_those_of_the_run(tmp_path: Path) -> None:
    finding = found(tmp_path, HEAD + 'h = df.Histo1D("pt")')[0]
    assert "chooses its axis from the data of each chunk" in finding.why
    finding = found(tmp_path, HEAD + 'd = df.Define("i", "rdfentry_")')[0]
    assert "counts within one chunk and is not a property of an event" in finding.why


def test_functions_that_nothing_calls_are_read_too(tmp_path: Path) -> None:
    code = 'def book(node):\n    return node.Define("i", "rdfentry_").Histo1D("i")\n'
    assert rules(tmp_path, code) == [(2, "error", "local-entry"), (2, "error", "no-model")]


@pytest.mark.parametrize("lines", [
    "a = 9\nfor i in range(60):\n    a = a * a", "a = 'xx'\nfor i in range(60):\n    a = f'{a}{a}'",
    "a = [1]\nfor i in range(60):\n    a.extend(a)", "a = [1]\nfor i in range(60):\n    a = [*a, *a]",
    "a = [1]\nfor i in range(60):\n    a = [a, a]\nb = f'{a}'\nc = a == a", "a = '%9999999999d' % 3",
    "a = {}\nfor i in range(60):\n    a = {'x': a, 'y': a}\nb = str(a)", "a = '%-*d' % (9999999999, 3)",
    "a = [1]\na.append(a)\nb = str(a)", "a = '{:>{w}}'.format(3, w=9999999999)", "a = '{:.9999999999f}'.format(3)",
    "a = 'x' * 9\nfor i in range(60):\n    a = a.replace('x', a)",
], ids=lambda lines: lines[:30])  # fmt: skip
def test_a_script_that_explodes_is_followed_as_far_as_it_goes(lines: str, tmp_path: Path) -> None:
    began = time.process_time()
    assert isinstance(found(tmp_path, f"{HEAD}{lines}\n"), list)
    assert time.process_time() - began < 5


def test_formats_that_scripts_have_are_followed() -> None:
    assert plain.method("", "join", [UNKNOWN], {}) is UNKNOWN
    assert plain.method("{}_{}", "format", ["a", 1], {}) == "a_1"
    for text in ("%s*10000", "x > 10000 && y < %d", "%(a)s * 2", "%5.2f"):
        assert plain._WIDE.search(text) is None
    for text in ("{0:5d}", "{}*10000", "{a}:{b}", "{:.3f}"):
        assert plain._WIDE.search(text) is None


def test_a_script_that_never_ends_is_followed_for_a_while(tmp_path: Path) -> None:
    loops = "".join(f"{'    ' * depth}for i{depth} in range(1000):\n" for depth in range(6))
    assert rules(tmp_path, HEAD + loops + "    " * 6 + "x = i0 + i1\n") == [(9, "warning", "unfinished")]
    assert rules(tmp_path, HEAD + "def f(n):\n    return f(n + 1)\nf(0)\n") == []


def test_a_script_without_a_frame_is_not_called_right(tmp_path: Path) -> None:
    assert rules(tmp_path, "import ROOT\nh = ROOT.TH1D()\n") == [(1, "note", "no-frame")]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.py", None, "cannot be read: No such file"),
        ("broken.py", "def f(:\n", "broken.py:1: not Python"),
        ("binary.py", b"\xff\xfe\x00", "cannot be read"),
        ("nul.py", "x = 1\0", "not Python"),
        ("macro.C", "int main() {}", "only scripts in Python"),
        ("book.ipynb", "{}", "jupyter nbconvert"),
    ],
)
def test_what_is_no_script_is_refused(tmp_path: Path, name: str, content: Any, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=words):
        read_script(tmp_path / name)


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        ("df102", [(27, "threads")]),
        ("df103", [(42, "threads")]),
        ("df104", [(25, "threads")]),
        ("df105", [(40, "arguments"), (46, "threads"), (77, "range")]),
        ("df106", [(28, "threads"), (32, "from-spec"), (145, "snapshot")]),
    ],
)
def test_findings_in_tutorials_of_root(short: str, expected: list[tuple[int, str]]) -> None:
    script = read_script(folder_of_tutorials() / f"{NAMES[short]}.py")
    assert [(one.line, one.rule) for one in check(script)] == expected


# ---- writing an analysis


def written(tmp_path: Path, code: str) -> tuple[Path, str]:
    write(script_of(tmp_path, code), tmp_path / "made")
    module = (tmp_path / "made" / "script.py").read_text()
    ast.parse(module)
    return tmp_path / "made", module


def test_a_small_script_becomes_what_one_would_write(tmp_path: Path) -> None:
    (tmp_path / "events.root").touch()
    code = (
        HEAD
        + "# Two muons.\ntwo = df.Filter('nMuon == 2')\n"
        + f"h = two.Histo1D({MODEL}, 'pt').GetValue()  # the spectrum\n"
        + "h.Draw()\nprint(two.GetColumnNames())\n"
    )
    folder, module = written(tmp_path, code)
    assert module == (
        '"""The step made of script.py by portico lint --write."""\n\nimport ROOT\n\n\n'
        "def analyse(frame, sample):\n"
        '    """Book what script.py books, over one chunk of a sample."""\n'
        "    df = frame\n"
        "    # Two muons.\n"
        "    two = df.Filter('nMuon == 2')\n"
        f"    h = two.Histo1D({MODEL}, 'pt')  # the spectrum\n"
        '    return {"h": h}\n'
    )
    analysis = load_analysis(folder)
    assert analysis.dataset["events"].files == (str(tmp_path / "events.root"),)
    assert [(step.name, step.function) for step in analysis.steps] == [("analyse", "script:analyse")]


class Recorder:
    """A frame that remembers what is called on it."""

    def __init__(self, calls: tuple[str, ...] = ()) -> None:
        self.calls = calls

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: Recorder((*self.calls, f"{name}{arguments}"))


class Named:
    def __init__(self, name: str) -> None:
        self.name = name


def products(module: str, sample: str) -> dict[str, tuple[str, ...]]:
    """Call the step that was written, with frames that remember, and return what it books."""
    names: dict[str, Any] = {}
    exec(compile(module.replace("import ROOT\n", ""), "script.py", "exec"), names)
    return {name: product.calls for name, product in names["analyse"](Recorder(), Named(sample)).items()}


SEVERAL = {
    "a dictionary": """\
df = {}
df["top"] = ROOT.RDataFrame("Events", "top.root")
df["data"] = ROOT.RDataFrame("Events", ["data.root"])
hists = {}
for sample in df:
    hists[sample] = df[sample].Filter("x > 1").Count()
for p in hists:
    hists[p].GetValue()
""",
    "a loop": """\
import os
files = {"top": "top.root", "data": "data.root"}
for name, file in files.items():
    d = ROOT.RDataFrame("Events", os.path.join(".", file))
    n = d.Filter("x > 1").Count()
    print(name, n.GetValue())
""",
    "a function": """\
def process(name, file):
    d = ROOT.RDataFrame("Events", file)
    return d.Filter("x > 1").Count()

def main():
    counts = []
    for name in ("top", "data"):
        counts.append(process(name, f"{name}.root"))
    print([n.GetValue() for n in counts])

if __name__ == "__main__":
    main()
""",
    "variables": """\
df_top, number = ROOT.RDataFrame("Events", "top.root"), 5
df_data = ROOT.RDataFrame("Events", "data.root")
n_top = df_top.Filter("x > 1").Count()
n_data = df_data.Filter("x > 1").Count()
""",
}


@pytest.mark.parametrize("code", [SEVERAL[name] for name in SEVERAL if name != "variables"], ids=lambda _: "")
def test_several_frames_become_samples(tmp_path: Path, code: str) -> None:
    for name in ("top", "data"):
        (tmp_path / f"{name}.root").touch()
    folder, module = written(tmp_path, "import ROOT\n" + code)
    analysis = load_analysis(folder)
    assert {n: Path(s.files[0]).name for n, s in analysis.dataset.samples.items()} == {
        "top": "top.root", "data": "data.root",
    }  # fmt: skip
    assert analysis.name == folder.name
    assert (analysis.dataset["data"].kind, analysis.dataset["top"].kind) == ("data", "background")
    for sample in ("top", "data"):
        (calls,) = products(module, sample).values()
        assert calls == ("Filter('x > 1',)", "Count()")
    assert products(module, "another") == {}


def test_results_that_no_variable_keeps_are_kept(tmp_path: Path) -> None:
    code = HEAD + (
        "for cut in ('x > 1', 'x > 2'):\n    n = df.Filter(cut).Count()\n    print(n.GetValue())\n"
        "df.Snapshot('events', 'out.root')\nprint(df.Sum('x').GetValue())\n"
    )
    _, module = written(tmp_path, code)
    made = products(module, "events")
    assert made["n"] == ("Filter('x > 1',)", "Count()")
    assert made["n_2"] == ("Filter('x > 2',)", "Count()")
    assert made["events"] == ("Snapshot('events', 'out.root')",)
    assert ("Sum('x',)",) in made.values()


def test_arguments_of_the_main_function_are_assigned(tmp_path: Path) -> None:
    code = (
        "import sys\nimport ROOT\ndef main(cut, low):\n    df = ROOT.RDataFrame('t', 'events.root')\n"
        "    n = df.Filter(f'{cut} > {low}').Count()\n    c = ROOT.TCanvas()\n    print(n.GetValue())\n    return 0\n"
        "low = 5\nif __name__ == '__main__':\n    sys.exit(main('x', low))\n"
    )
    _, module = written(tmp_path, code)
    assert products(module, "events") == {"n": ("Filter('x > 5',)", "Count()")}
    assert "TCanvas" not in module


def test_all_results_of_a_statement_are_kept(tmp_path: Path) -> None:
    code = HEAD + "print(df.Count().GetValue(), df.Sum('x').GetValue())\n"
    _, module = written(tmp_path, code)
    assert sorted(products(module, "events").values()) == [("Count()",), ("Sum('x',)",)]
    assert "print" not in module


def test_a_function_that_books_for_many_is_kept_as_a_whole(tmp_path: Path) -> None:
    code = HEAD + "def book(cut):\n    n = df.Filter(cut).Count()\n    print(cut, n.GetValue())\nbook('a')\nbook('b')\n"
    made = write(script_of(tmp_path, code), tmp_path / "made")
    module = (tmp_path / "made" / "script.py").read_text()
    assert products(module, "events") == {"n": ("Filter('a',)", "Count()"), "n_2": ("Filter('b',)", "Count()")}
    assert (3, "book is kept as a whole: take out of it what draws, prints and saves") in made.by_hand


def test_names_of_the_script_are_left_to_it(tmp_path: Path) -> None:
    code = "import ROOT\nkept = {}\ndef analyse(frame):\n    return frame.Filter('x > 1').Count()\n"
    code += "for keep in ('top', 'data'):\n    n = analyse(ROOT.RDataFrame('t', f'{keep}.root'))\n"
    code += "    kept[keep] = n\n    print(n.GetValue())\n"
    folder, module = written(tmp_path, code)
    assert "function: script:analyse_of_step" in (folder / "analysis.yaml").read_text()
    names: dict[str, Any] = {}
    exec(compile(module.replace("import ROOT\n", ""), "script.py", "exec"), names)
    made = names["analyse_of_step"](Recorder(), Named("top"))
    assert {name: one.calls for name, one in made.items()} == {"kept": ("Filter('x > 1',)", "Count()")}


def test_options_have_their_defaults(tmp_path: Path) -> None:
    code = (
        "import argparse\nimport ROOT\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--cut', type=float, default=2.5)\nparser.add_argument('--file', default='a.root')\n"
        "args = parser.parse_args()\ndf = ROOT.RDataFrame('t', args.file)\nn = df.Filter(f'x > {args.cut}').Count()\n"
    )
    (tmp_path / "a.root").touch()
    folder, module = written(tmp_path, code)
    assert load_analysis(folder).dataset["a"].files == (str(tmp_path / "a.root"),)
    assert products(module, "a") == {"n": ("Filter('x > 2.5',)", "Count()")}
    assert "line 6: options of the command line have their defaults" in module


def test_code_in_strings_is_not_indented(tmp_path: Path) -> None:
    code = (
        "import ROOT\ndef main():\n    df = ROOT.RDataFrame(100)\n    text = '''\n  a\nb'''\n"
        "    n = df.Filter(text).Count()\n\nmain()\n"
    )
    folder, module = written(tmp_path, code)
    assert products(module, "script") == {"n": ("Filter('\\n  a\\nb',)", "Count()")}
    assert load_analysis(folder).dataset["script"].entries == 100


def test_metadata_of_a_specification_become_parameters(tmp_path: Path) -> None:
    spec = {"samples": {"mc": {"trees": ["t"], "files": ["mc.root"], "metadata": {"xsec": 2.5, "kind": "top"}}}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    (tmp_path / "mc.root").touch()
    code = f"import ROOT\ndf = ROOT.RDF.Experimental.FromSpec({str(tmp_path / 'spec.json')!r})\nn = df.Count()\n"
    folder, module = written(tmp_path, code)
    sample = load_analysis(folder).dataset["mc"]
    assert (sample.tree, sample.parameters) == ("t", {"xsec": 2.5, "kind": "top"})
    assert products(module, "mc") == {"n": ("Count()",)}


def test_what_lies_beside_the_script_is_copied(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("def cut():\n    return 'x > 1'\n")
    (tmp_path / "mine.h").write_text("int f();\n")
    (tmp_path / "events.root").touch()
    code = HEAD + "import helpers\nROOT.gInterpreter.Declare('#include \"mine.h\"')\n"
    code += "n = df.Filter(helpers.cut()).Count()\n"
    folder, module = written(tmp_path, code)
    assert sorted(path.name for path in folder.iterdir()) == [
        "analysis.yaml", "datasets.yaml", "helpers.py", "mine.h", "script.py",
    ]  # fmt: skip
    assert "import helpers\n" in module
    assert "ROOT.gInterpreter.Declare" in module.partition("def analyse")[0]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import ROOT\nh = ROOT.TH1D('h', '', 5, 0, 1)\n", "makes no RDataFrame"),
        (HEAD, "books no result"),
    ],
)
def test_nothing_is_made_of_what_books_nothing(tmp_path: Path, code: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        write(script_of(tmp_path, code), tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        write(script_of(tmp_path, HEAD + "n = df.Count()\n"), tmp_path / "made")


# ---- the command


def test_command_shows_findings_and_writes(tmp_path: Path) -> None:
    script = script_of(tmp_path, HEAD + "df.Snapshot('events', 'out.root')\n").path
    done = CliRunner().invoke(cli, ["lint", str(script), "--write", str(tmp_path / "made")])
    assert done.exit_code == 1
    assert f"{script}:3: error: the Snapshot 'events' is not kept [snapshot]\n    why: " in done.output
    assert f"{script}: 1 error\nwritten:\n  {tmp_path / 'made' / 'analysis.yaml'}\n" in done.output
    assert done.output.endswith(f"next:\n  portico run {tmp_path / 'made'}\n")


def test_command_for_programs(tmp_path: Path) -> None:
    script = script_of(tmp_path, HEAD + "ROOT.EnableImplicitMT()\nn = df.Count()\n").path
    done = CliRunner().invoke(cli, ["lint", str(script), "--json", "--write", str(tmp_path / "made")])
    content = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (content["errors"], [one["rule"] for one in content["findings"]]) == (0, ["threads"])
    assert str(tmp_path / "made" / "datasets.yaml") in content["written"]
    assert content["by_hand"] == []


def test_command_says_that_nothing_was_found(tmp_path: Path) -> None:
    script = script_of(tmp_path, CLEAN).path
    done = CliRunner().invoke(cli, ["lint", str(script)])
    assert (done.exit_code, done.output) == (0, f"{script}: nothing found\n")
    assert CliRunner().invoke(cli, ["lint", str(tmp_path / "missing.py")]).exit_code == 2


# ---- the page


def test_the_page_has_every_rule_and_its_level() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+)", PAGE.read_text(), re.MULTILINE)
    tested = {(rule, level) for _, _, level, rule in RULES}
    assert {(rule, level) for rule, level in rows} == tested | UNUSUAL


def test_the_page_shows_what_is_written(tmp_path: Path) -> None:
    before, after = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[:2]
    path = tmp_path / "dimuon.py"
    path.write_text(before)
    write(read_script(path), tmp_path / "mydimuon")
    made = (tmp_path / "mydimuon" / "dimuon.py").read_text()
    assert made.partition("\n\n")[2] == after


# ---- all of them


@pytest.mark.parametrize("path", sorted(folder_of_tutorials().glob("df*.py")), ids=lambda path: path.name[:5])
def test_no_tutorial_of_root_is_too_much(path: Path, tmp_path: Path) -> None:
    script = read_script(path)
    assert all(1 <= one.line <= len(script.lines) for one in check(script))
    try:
        files = write(script, tmp_path / "made").files
    except ConfigError as error:
        assert re.search("makes no RDataFrame|books no result", str(error))  # noqa: PT017 (most have neither)
    else:
        ast.parse(next(file for file in files if file.suffix == ".py").read_text())
