"""The frame of a step against plain RDataFrame: values per sample, variations, Snapshots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import uproot

import portico
from portico.analysis.analysis import Analysis
from portico.errors import StepError
from portico.executors.local import LocalExecutor
from tests.conftest import Remember

pytestmark = pytest.mark.integration

PER_SAMPLE = """
import ROOT

ROOT.gInterpreter.Declare(
    "struct Entries { double operator()(unsigned, const ROOT::RDF::RSampleInfo &i) const { return i.NEntries(); } };"
)


def info(frame, sample):
    frame = frame.DefinePerSample("factor", f'rdfsampleinfo_.GetSampleName() == "{sample.name}" ? 2. : 0.')
    frame = frame.DefinePerSample("entries", "auto r = rdfsampleinfo_.EntryRange(); return double(r.second - r.first);")
    frame = frame.DefinePerSample("all", ROOT.Entries())
    frame = frame.DefinePerSample("is_first", 'rdfsampleinfo_.Contains("first.root/Events")')
    frame = frame.Define("right", "entries == all && entries == " + frame_entries(sample))
    known = 'rdfsampleinfo_.GetS("process") == "top" ? rdfsampleinfo_.GetD("xsec") * rdfsampleinfo_.GetI("era") : 0.'
    frame = frame.DefinePerSample("known", known if sample.parameters else "0.")
    sums = {"sum": "factor", "right": "right", "first": "is_first", "known": "known"}
    return {name: frame.Sum(column) for name, column in sums.items()}


def unknown(frame, sample):
    return {"n": frame.DefinePerSample("x", 'rdfsampleinfo_.GetD("xsecs")').Sum("x")}


def frame_entries(sample):
    return "100" if sample.name == "made" else "(is_first ? 40 : 25)"


def varied(frame, sample):
    frame = frame.DefinePerSample("factor", "2.").Vary("x", "ROOT::RVecD{x - 1, x + 1}", ["down", "up"], "shift")
    frame = frame.Define("y", "factor * x").Vary("factor", "ROOT::RVecD{1., 3.}", ["down", "up"], "weight")
    return {
        "y": ROOT.RDF.Experimental.VariationsFor(frame.Histo1D(("y", "", 4, 0, 80), "y")),
        "z": ROOT.RDF.Experimental.VariationsFor(frame.Define("z", "factor * x").Sum("z")),
    }


def wrong(frame, sample):
    return {"n": frame.DefinePerSample("factor", "rdfsampleinfo_.GetName()").Count()}


def twice(frame, sample):
    return {"n": frame.DefinePerSample("x", "2.").Count()}
"""

SNAPSHOT = """
import ROOT

FORMATS = ROOT.RDF.ESnapshotOutputFormat


def kept(frame, sample, *, form="kDefault", **settings):
    options = ROOT.RDF.RSnapshotOptions()
    options.fOutputFormat = getattr(FORMATS, form)
    for name, value in settings.items():
        setattr(options, name, value)
    frame = frame.Vary("x", "ROOT::RVecD{x - 1, x + 1}", ["down", "up"], "shift").Define("y", "2 * x")
    return {"tree": frame.Filter("x < 8.5").Snapshot("Events", "o.root", ["x", "y"], options)}


def default(frame, sample):
    return kept(frame, sample)


def variations(frame, sample):
    return kept(frame, sample, fIncludeVariations=True)


def flushed(frame, sample):
    return kept(frame, sample, fAutoFlush=2)


def tree(frame, sample):
    return kept(frame, sample, form="kTTree")


def refused(frame, sample):
    return kept(frame, sample, form="kRNTuple", fIncludeVariations=True)


def signed(frame, sample):
    options = ROOT.RDF.RSnapshotOptions()
    options.fOutputFormat = FORMATS.kTTree
    return {"tree": frame.Define("charge", "(signed char)1").Snapshot("Events", "o.root", ["x", "charge"], options)}
"""


def write(path: Path, entries: int, ntuple: bool = False) -> None:
    """Write events with x = 0, 1, 2, ... in clusters of ten."""
    x = np.arange(float(entries))
    with uproot.recreate(path) as file:
        events = (file.mkrntuple if ntuple else file.mktree)("Events", {"x": "float64"})
        for first in range(0, entries, 10):
            events.extend({"x": x[first : first + 10]})


def steps(*names: str) -> str:
    return "\n".join(f'  - {{name: {name}, function: "mysteps:{name}", chunk: 10 entries}}' for name in names)


@pytest.fixture
def files(tmp_path: Path) -> str:
    write(tmp_path / "first.root", 40)
    write(tmp_path / "other.root", 25)
    (tmp_path / "new").mkdir()
    write(tmp_path / "new" / "first.root", 40, ntuple=True)
    return (
        f'    both: {{files: ["{tmp_path}/first.root", "{tmp_path}/other.root"]}}\n'
        f'    ntuple: {{files: ["{tmp_path}/new/first.root"]}}\n'
        "    made: {entries: 100, parameters: {xsec: 2.5, era: 3, process: top}}"
    )


def test_a_value_per_sample_is_that_of_the_sample(
    make_analysis: Callable[..., Analysis], files: str, single: LocalExecutor, tmp_path: Path
) -> None:
    analysis = make_analysis(PER_SAMPLE, steps("info"), files)
    results = portico.run(analysis, folder=tmp_path / "run", executor=single)["info"]
    found = {name: [of[key] for key in ("sum", "right", "first", "known")] for name, of in results.items()}
    assert found == {"both": [130, 65, 40, 0], "ntuple": [80, 40, 40, 0], "made": [200, 100, 0, 750]}


def test_a_value_per_sample_and_variations(
    make_analysis: Callable[..., Analysis], files: str, single: LocalExecutor, tmp_path: Path
) -> None:
    analysis = make_analysis(PER_SAMPLE, steps("varied"), files.splitlines()[1])
    results = portico.run(analysis, folder=tmp_path / "run", executor=single)["varied"]["ntuple"]
    y = {tag: h.values().tolist() for tag, h in results.variations("y").items() if "weight" not in tag}
    assert y == {"nominal": [10] * 4, "shift:down": [10, 10, 10, 9], "shift:up": [9, 10, 10, 10]}
    total = {"nominal": 1560, "shift:down": 1480, "shift:up": 1640, "weight:down": 780, "weight:up": 2340}
    assert results.variations("z") == total


@pytest.mark.parametrize(("step", "message"), [
    ("wrong", r"mysteps\.py:\d+ .*does not compile: no member named 'GetName'"),
    ("unknown", r"sample 'both'.*xsecs"),
    ("twice", r"mysteps\.py:\d+ .*cannot define column \"x\""),
])  # fmt: skip
def test_a_value_per_sample_that_is_wrong(
    make_analysis: Callable[..., Analysis], files: str, single: LocalExecutor, tmp_path: Path, step: str, message: str
) -> None:
    with pytest.raises(StepError, match=message):
        portico.run(make_analysis(PER_SAMPLE, steps(step), files), folder=tmp_path / "run", executor=single)


def test_snapshots_have_the_format_that_the_options_need(
    make_analysis: Callable[..., Analysis], files: str, single: LocalExecutor, tmp_path: Path
) -> None:
    names = ("default", "variations", "flushed", "tree")
    analysis = make_analysis(SNAPSHOT, steps(*names), files.splitlines()[1])
    run = portico.run(analysis, folder=tmp_path / "run", executor=single)
    formats = {}
    for name in names:
        with uproot.open(run[name]["ntuple"]["tree"][0]) as file:
            tree, formats[name] = file["Events"], file.classname_of("Events")
            assert tree["x"].array().tolist()[:9] == list(range(9))
            if name == "variations":
                columns = {"x", "y", "x__shift_down", "y__shift_down", "x__shift_up", "y__shift_up"}
                assert columns <= set(tree.keys())
                assert tree["y__shift_up"].array().tolist()[:8] == [2 * (x + 1) for x in range(8)]
            if name == "flushed":
                assert tree["x"].num_baskets == 5
    assert formats == {"default": "ROOT::RNTuple", "variations": "TTree", "flushed": "TTree", "tree": "TTree"}
    for name, words in (("refused", "ROOT writes variations to a TTree only"), ("signed", "column 'charge'")):
        with pytest.raises(StepError, match=words):
            portico.run(
                make_analysis(SNAPSHOT, steps(name), files.splitlines()[1]), folder=tmp_path / "no", executor=single
            )


ABORTS = """
import ROOT


def vary(frame, column, tags=("down", "up")):
    return frame.Vary(column, "ROOT::RVecD{x - 1, x + 1}", list(tags), "shift")


def redefined(frame, sample):
    return {"n": vary(frame, "x").Redefine("x", "2 * x").Count()}


def unknown(frame, sample):
    return {"n": vary(frame, "nope").Count()}


def alias(frame, sample):
    return {"n": frame.Alias("x", "x").Count()}


def tagless(frame, sample):
    return {"n": vary(frame, "x", ()).Count()}


ROOT.gInterpreter.Declare(
    'bool never_throws(double x) noexcept { if (x > 5) throw std::runtime_error("too large"); return true; }'
)


def noexcept(frame, sample):
    return {"n": frame.Filter("never_throws(x)").Count()}
"""


@pytest.mark.parametrize(("step", "message"), [
    pytest.param(
        "redefined",
        r"mysteps\.py:\d+ .*cannot redefine column \"x\"\. The column depends on one or more systematic",
        marks=pytest.mark.full,
    ),
    ("tagless", "ROOT aborts: Must have at least one variation"),
    pytest.param("unknown", r"mysteps\.py:\d+ .*cannot redefine or vary column \"nope\"", marks=pytest.mark.full),
    pytest.param("alias", r"mysteps\.py:\d+ .*cannot define column \"x\"", marks=pytest.mark.full),
    pytest.param("noexcept", "an exception that nothing catches: too large", marks=pytest.mark.full),
])  # fmt: skip
def test_what_ends_the_process_says_why_and_is_not_tried_again(
    make_analysis: Callable[..., Analysis], files: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str,
    message: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("EXTRA_CLING_ARGS", "-O2")  # as users have it
    teller = Remember()
    executor = LocalExecutor(1)
    try:
        with pytest.raises(StepError, match=message):
            portico.run(
                make_analysis(ABORTS, steps(step), files), folder=tmp_path / "run", executor=executor, reporter=teller
            )
    finally:
        executor.close()
    assert not [text for text in teller.warnings if "trying again" in text]


@pytest.mark.full
def test_what_does_not_compile_says_so_each_time_and_leaves_nothing(
    make_analysis: Callable[..., Analysis], files: str, single: LocalExecutor, tmp_path: Path
) -> None:
    """After a compilation at the begin of an event loop has failed, the process's next loop would fail as well."""
    good = "import ROOT\ndef s(frame, sample):\n    return {'n': frame.Count(), 'p': %s}\n"
    profile = good % "frame.Fill(ROOT.TProfile2D('p', '', 3, 0, 30, 2, 0, 4), ['x', 'x', 'x'])"
    graph = good % "frame.Fill(ROOT.TGraph2D(), ['x', 'x', 'x'])"
    wrong = good % "frame.Take['int']('x')"
    said = "does not compile: no member named 'Fill'"
    for number, (code, message) in enumerate((
        (profile, ""), (graph, said), (graph, said), (profile, ""),
        (wrong, "column 'x' is a double, and the step reads it as int; read it as what it is"),
    )):  # fmt: skip
        analysis = make_analysis(
            f"{code}# {number}\n", "  - {name: s, function: 'mysteps:s'}", files.partition("\n")[0]
        )
        if message:
            with pytest.raises(StepError, match=message):
                portico.run(analysis, folder=tmp_path / f"{number}", executor=single, reporter=Remember())
        else:
            portico.run(analysis, folder=tmp_path / f"{number}", executor=single, reporter=Remember())
