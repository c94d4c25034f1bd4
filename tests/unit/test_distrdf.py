"""Operations that a step may use on ROOT's distributed RDataFrame, one by one; nothing runs here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portico import root
from portico.analysis.chunks import Chunk
from portico.errors import ConfigError, ProductError, StepError
from portico.executors.where import connect
from portico.runfolder.ledger import Planned
from tests.conftest import write_events

MODEL = ("h", "", 10, 0.0, 10.0)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("distrdf") / "events.root"
    write_events(path, np.random.default_rng(5), 50)
    return str(path)


@pytest.fixture
def booking(tmp_path: Path) -> Any:
    from portico_distrdf.frame import Booking

    return Booking(str(tmp_path))


@pytest.fixture
def frame(file: str, booking: Any) -> Any:
    root.load()
    from ROOT._distrdf.DataFrame import RDataFrame
    from ROOT._distrdf.HeadNode import get_headnode

    from portico_distrdf.frame import DistributedFrame
    from portico_distrdf.graph import Backend
    from portico_distrdf.worker import Ticket

    backend = Backend(None, Ticket("", "", ""))  # type: ignore[arg-type] (nothing is sent)
    return DistributedFrame(RDataFrame(get_headnode(backend, 2, "Events", [file]))._headproxy, booking)


@pytest.mark.parametrize("name", [
    "Range", "Display", "Foreach", "ForeachSlot", "Take", "Cache", "Aggregate", "Reduce", "Book", "Fill", "Describe",
    "DefineSlot", "DefineSlotEntry", "HistoND", "HistoNSparseD", "GraphAsymmErrors",
])  # fmt: skip
def test_operations_outside_of_the_list_are_refused_by_name(frame: Any, name: str) -> None:
    with pytest.raises(StepError, match=rf"^{name} is not possible on ROOT's distributed.*--on local, dask"):
        getattr(frame, name)("x")


REFUSED: list[tuple[str, Callable[[Any], Any], str]] = [
    ("part", lambda f: f.DefinePerSample("n", "double(rdfsampleinfo_.NEntries())"), "DefinePerSample with NEntries is"),
    ("function", lambda f: f.Define("y", lambda x: x, ["x"]), "Define with a Python function.*header"),
    ("filter", lambda f: f.Filter(lambda x: x > 1, ["x"]), "Filter with a Python function"),
    ("local entry", lambda f: f.Define("y", "rdfentry_ + 1"), "rdfentry_"),
    ("template", lambda f: f.Sum["double"]("x"), "Sum with types in brackets"),
    ("model", lambda f: f.Histo1D("x"), r"Histo1D\('x'\) chooses its axis"),
    ("vectors", lambda f: f.Define("v", "ROOT::RVecD{x, x}").AsNumpy(["x", "v"]), "AsNumpy of column 'v', a ROOT::V"),
    ("text", lambda f: f.Define("s", 'std::string("a")').AsNumpy(), "AsNumpy of column 's', a .*string"),
    ("tree name", lambda f: f.Snapshot("kept"), "tree name and a file name"),
    ("snapshot column", lambda f: f.Snapshot("kept", "kept.root", ["x", "nn"]), "no column 'nn'; did you mean 'n'"),
    ("numpy column", lambda f: f.AsNumpy(["xx"]), "no column 'xx'"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_does_not_reach_the_workers_is_refused(frame: Any, call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises((StepError, ProductError), match=message):
        call(frame)


def test_objects_of_cplusplus_are_refused(frame: Any) -> None:
    import ROOT

    with pytest.raises(StepError, match="an object of GlobalEntry"):
        frame.Define("e", ROOT.portico.GlobalEntry(3), ["x"])
    frame.Histo1D(ROOT.RDF.TH1DModel("h", "", 10, 0.0, 10.0), "x")


@pytest.mark.parametrize("field", ["format", "variations"])
def test_kinds_of_snapshots_that_fail_are_refused(frame: Any, field: str) -> None:
    import ROOT

    options = ROOT.RDF.RSnapshotOptions()
    if field == "format":
        options.fOutputFormat = ROOT.RDF.ESnapshotOutputFormat.kRNTuple
    else:
        options.fIncludeVariations = True
    with pytest.raises(StepError, match=r"Snapshot (to RNTuple|with variations) is not possible"):
        frame.Snapshot("kept", "kept.root", "", options)


@pytest.mark.parametrize("place", ["root://host//runs", "/data/my.root.files"])
def test_places_that_root_would_misread_are_refused(frame: Any, booking: Any, place: str) -> None:
    booking.folder = place
    with pytest.raises(StepError, match=r"cannot write to .*--run"):
        frame.Snapshot("kept", "kept.root")


def test_unknown_columns_and_operations_are_told_at_once(frame: Any) -> None:
    with pytest.raises(Exception, match="just-in-time compilation"):  # the compiler's words are on standard error
        frame.Filter("nothing > 1")
    with pytest.raises(Exception, match="nothing"):
        frame.Histo1D(MODEL, "nothing")
    with pytest.raises(AttributeError, match="no operation 'Histo1d'; did you mean 'Histo1D'"):
        frame.Histo1d(MODEL, "x")


def test_questions_are_answered(frame: Any) -> None:
    assert sorted(str(name) for name in frame.GetColumnNames()) == ["event", "n", "w", "x"]
    assert frame.Define("y", "x + 1").HasColumn("y")
    assert frame.Define("y", "x + 1").GetColumnType("y") == "double"


def test_the_event_loop_cannot_be_run_while_the_graph_is_built(frame: Any) -> None:
    with pytest.raises(StepError, match="ran the event loop while it was being built"):
        frame.Count().GetValue()
    with pytest.raises(StepError, match=r"\.Print of a Report"):
        frame.Filter("x > 1", "one").Report().Print()


def test_handles_that_cannot_be_collected_are_refused_before_the_run(frame: Any) -> None:
    import ROOT

    from portico_distrdf.frame import check_kinds

    varied = frame.Vary("x", "ROOT::RVecD{x - 1, x + 1}", ["down", "up"])
    check_kinds({"h": ROOT.RDF.Experimental.VariationsFor(varied.Histo1D(MODEL, "x"))})
    with pytest.raises(StepError, match="VariationsFor of Snapshot"):
        check_kinds({"s": ROOT.RDF.Experimental.VariationsFor(varied.Snapshot("kept", "kept.root"))})
    with pytest.raises(ProductError, match="'f' is a DistributedFrame, which cannot be collected"):
        check_kinds({"f": frame})


def test_a_report_counts_before_and_after_each_named_filter(frame: Any, booking: Any) -> None:
    from portico_distrdf.frame import book_reports

    first = frame.Filter("x > 1", "one")
    second = first.Filter("n != 2").Define("y", "x + w").Filter("y < 5", "two")
    other = frame.Filter("x < 1", "other")
    reports = {"second": second.Report(), "all": frame.Report(), "none": frame.Define("z", "x").Report()}
    book_reports(reports)
    names = {key: [row[0] for row in report._rows] for key, report in reports.items()}
    # A plain RDataFrame reports all filters of its graph, but none once a column has been defined on it.
    assert names == {"second": ["one", "two"], "all": ["one", "two", "other"], "none": []}
    assert len(booking.counts) == 5  # of the frame, after "one", before "two", after it, after "other"
    assert other is not None


def test_parts_are_a_power_of_two() -> None:
    from portico_distrdf.graph import partitions

    assert [partitions(chunks) for chunks in (0, 1, 2, 3, 4, 7, 8, 1000)] == [1, 1, 2, 2, 4, 4, 8, 512]


def test_complete_samples_have_keys_of_their_own() -> None:
    from portico_distrdf.executor import complete_samples

    chunks = [Chunk(f"{name}.root", name, "Events", 10 * i, 10 * i + 10) for name in "pq" for i in range(2)]
    planned = [Planned("a", i, f"key{i}", chunk) for i, chunk in enumerate(chunks)]
    only, parts = complete_samples({"a": planned})["a"]
    assert (only.chunk.file, only.chunk.first, only.chunk.last) == ("p.root and 1 more", 0, 40)
    assert parts == chunks
    assert only.key not in {one.key for one in planned}
    other, _ = complete_samples({"a": planned[:3]})["a"]
    assert other.key != only.key


def test_what_follows_on_is_checked() -> None:
    with pytest.raises(ConfigError, match="distrdf"):
        connect("distrdv", 1)
