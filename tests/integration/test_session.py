"""A session: changed cuts and back, partial results, stops, lost workers, and runs that are kept."""

from __future__ import annotations

import base64
import json
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import portico
from portico.analysis.analysis import Analysis
from portico.analysis.blinding import Blinding
from portico.compare import compare
from portico.errors import ConfigError, MissingExtra, PorticoError, RunFolderError, StepError
from portico.executors.local import LocalExecutor
from portico.interactive.live import page
from portico.report import write_report
from portico.results.cutflow import Cutflow
from tests.conftest import numbers_of

pytestmark = pytest.mark.integration

CODE = """
import os
import signal
import time
from pathlib import Path

from portico import step, summary

CUTS = {"x": "x > 5"}


@step()
def skim(frame, sample):
    return {"events": frame.Filter("n > 0").Snapshot("Events", "", ["x", "w", "n", "event"])}


@step()
def select(frame, sample, *, cuts={}, bins=10, gate="", death=""):
    for name in cuts:
        if name not in CUTS:
            raise ValueError(f"no cut '{name}'; valid: {', '.join(CUTS)}")
    if death and not Path(death).exists():
        Path(death).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    # The first chunks pass; the others wait until the test lets them.
    while gate and len(list(Path(gate).glob("passed*"))) >= 6 and not Path(gate, "open").exists():
        time.sleep(0.01)
    if gate:
        Path(gate, f"passed{time.monotonic_ns()}-{os.getpid()}").touch()
    for name, cut in {**CUTS, **cuts}.items():
        frame = frame.Filter(cut, name)
    return {
        "x": frame.Histo1D(("x", "", bins, 0.0, 10.0), "x", "w"),
        "count": frame.Count(),
        "chosen": frame.Snapshot("chosen", "", ["x", "event"]),
    }


@summary
def total(results, samples, *, scale=1.0):
    return {"count": scale * sum(r["count"] for r in results.values())}
"""
STEPS = """
  - {name: skim, function: "mysteps:skim", chunk: 50 entries}
  - {name: select, function: "mysteps:select", input: skim}
  - {name: total, function: "mysteps:total", input: select}
"""
CUT = {"x": "x > 7.25"}


@pytest.fixture
def analysis(make_analysis: Callable[..., Analysis], events: Path) -> Analysis:
    samples = "".join(
        f"    {name}: {{kind: data, tree: Events, files: [{events}/events{n}.root, {events}/events{n + 1}.root]}}\n"
        for name, n in (("one", 0), ("two", 2))
    )
    return make_analysis(CODE, STEPS, samples)


@pytest.fixture
def session(analysis: Analysis, local: LocalExecutor, tmp_path: Path) -> Iterator[portico.Session]:
    with portico.session(analysis, folder=tmp_path / "run", executor=local) as opened:
        yield opened


def bits(fill: portico.Fill) -> dict[str, bytes]:
    return numbers_of({fill.step: fill.result()}, fill.step)


def passed(fill: portico.Fill, sample: str = "one") -> int:
    return int(fill[sample]["count"])


def half_done(session: portico.Session, gate: Path, **options: Any) -> portico.Fill:
    """Fill until some chunks are done, and no more can be."""
    gate.mkdir(exist_ok=True)
    fill = session.fill("select", cuts=CUT, gate=str(gate), **options)
    seen = 0
    while not any(results["count"] for results in fill.partial().values()):
        seen = fill._watch.next_change(seen, 1.0)
        assert fill.state in {"waiting", "running"}, fill
    return fill


def test_a_changed_cut_runs_and_the_way_back_does_not(
    session: portico.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session.fill("select").wait()
    assert first.state == "done"
    assert first.ran["skim"] > 0
    other = session.fill("select", cuts=CUT)
    assert passed(other) < passed(first)
    assert other.ran["skim"] == 0
    assert other.ran["select"] > 0

    def asked(*_: object) -> None:
        raise AssertionError("a process was asked")

    for method in ("submit", "call", "call_all"):
        monkeypatch.setattr(session.executor, method, asked)
    back = session.fill("select").wait()
    assert back.ran == {"skim": 0, "select": 0}
    assert bits(back) == bits(first) != bits(other)
    assert back["one"] is first["one"]  # and is not even read again


def test_results_are_those_of_a_run(session: portico.Session, tmp_path: Path) -> None:
    fill = session.fill("select", cuts=CUT, bins=7).wait()
    options = session.analysis.with_options("select", cuts=CUT, bins=7)
    run = portico.run(options, folder=tmp_path / "plain", executor=session.executor, steps=["skim", "select"])
    assert bits(fill) == numbers_of(run, "select")
    assert (tmp_path / "plain" / "select" / "results.root").exists()


def test_only_what_changed_is_computed(session: portico.Session) -> None:
    one = session.fill("select", samples=["one"], cuts=CUT).wait()
    assert list(one) == list(one.result()) == ["one"]
    both = session.fill("select", cuts=CUT).wait()
    assert both.ran["select"] == one.ran["select"]  # the chunks of the other sample
    assert both["one"] is one["one"]


def test_partial_results_are_marked_and_grow_to_the_final_ones(session: portico.Session, tmp_path: Path) -> None:
    fill = half_done(session, tmp_path / "gate")
    begun = fill.partial()
    name = next(iter(begun))
    done, total = fill.progress
    assert 0 < done < total
    assert re.fullmatch(r"PARTIAL: [\d,]+ of [\d,]+ entries", begun[name].note)
    assert begun[name]["x"].note == begun[name].note
    so_far = begun[name]["count"]
    assert begun[name]["x"].sum(flow=True).value > 0
    (tmp_path / "gate" / "open").touch()
    assert so_far < fill[name]["count"]
    assert fill.partial() == fill.result()
    assert not any(results.note for results in fill.partial().values())
    again = session.fill("select", cuts=CUT)
    assert {n: v for n, v in bits(again).items() if "chosen" not in n} == {
        n: v for n, v in bits(fill).items() if "chosen" not in n
    }


def test_a_stop_keeps_what_is_done_and_the_same_fill_goes_on(session: portico.Session, tmp_path: Path) -> None:
    fill = half_done(session, tmp_path / "gate")
    waiting = session.fill("select", cuts={"x": "x > 9"})
    assert waiting.stop().state == "stopped"
    assert not waiting.ran
    threading.Timer(0.3, (tmp_path / "gate" / "open").touch).start()
    assert fill.stop().state == "stopped"  # chunks that run may end
    there = fill.partial()
    kept = sum(int(results["count"]) for results in there.values())
    assert kept > 0
    with pytest.raises(PorticoError, match="was stopped; partial"):
        fill.result()
    again = session.fill("select", cuts=CUT, gate=str(tmp_path / "gate")).wait()
    chunks = session.fill("select", cuts=CUT).wait().ran["select"]
    assert 0 < again.ran["select"] < chunks
    assert fill.partial().keys() == there.keys()  # what was there is still that of the stop
    assert (
        sum(int(results["count"]) for results in fill.partial().values()) == kept < passed(again) + passed(again, "two")
    )


def test_a_lost_worker_changes_nothing(session: portico.Session, tmp_path: Path) -> None:
    fill = session.fill("select", cuts=CUT, death=str(tmp_path / "died")).wait()
    assert fill.state == "done"
    assert (tmp_path / "died").exists()
    assert any("SIGKILL" in warning for warning in fill.warnings)
    calm = session.fill("select", cuts=CUT)
    assert [passed(fill, name) for name in fill] == [passed(calm, name) for name in calm]


def test_fills_of_different_cuts_do_not_mix(session: portico.Session) -> None:
    cuts = {f"x > {n}": session.fill("select", samples=["one" if n % 2 else "two"], cuts={"x": f"x > {n}"})
            for n in (2, 3, 4, 5)}  # fmt: skip
    whole = session.fill("select", cuts={"x": "x > 3"})
    counts = [sum(of["count"] for of in fill.result().values()) for fill in cuts.values()]
    assert counts[0] > counts[2]
    assert counts[1] > counts[3]
    assert passed(whole) == passed(cuts["x > 3"])
    assert bits(whole)["one/x/values"] == bits(cuts["x > 3"])["one/x/values"] != bits(cuts["x > 5"])["one/x/values"]
    assert not whole.run.stale.get("select")
    loose, tight = (session.fill("total", after=cuts[cut], scale=2.0).summary["count"] for cut in ("x > 2", "x > 5"))
    assert loose > tight > 0
    assert loose == 2 * sum(of["count"] for of in session.fill("select", cuts={"x": "x > 2"}).result().values())


def test_two_sessions_in_one_folder_do_not_mix(
    session: portico.Session, analysis: Analysis, local: LocalExecutor, tmp_path: Path
) -> None:
    fill = half_done(session, tmp_path / "gate")
    with portico.session(analysis, folder=session.folder, executor=local) as other:
        refused = other.fill("select")
        with pytest.raises(RunFolderError, match="in use"):
            refused.wait()
        (tmp_path / "gate" / "open").touch()
        tight = passed(fill)
        loose = passed(other.fill("select"))
    assert tight < loose
    assert passed(fill) == tight == passed(session.fill("select", cuts=CUT))


def test_what_is_kept_is_a_run(session: portico.Session, tmp_path: Path) -> None:
    loose, tight = session.fill("select"), session.fill("select", samples=["one"], cuts=CUT)
    paths = [loose.keep("loose"), session.keep("tight", tight)]
    assert paths == [tmp_path / "loose", tmp_path / "tight"]
    session.fill("select", cuts={"x": "x > 9"}).wait()
    session.folder.rename(tmp_path / "gone")  # a kept run needs nothing of the session's folder
    runs = [portico.load(path) for path in paths]
    assert numbers_of(runs[0], "select") == bits(loose)
    assert numbers_of(runs[1], "select") == bits(tight)
    assert not compare(*paths, steps=["select"], samples=["one"]).equal
    assert compare(paths[0], paths[0], rtol=0).equal
    assert "x" in write_report(paths[1]).read_text()
    assert (paths[0] / "select" / "results.root").exists()
    assert all(Path(tree).is_relative_to(paths[0]) for tree in runs[0]["select"]["one"]["chosen"])
    (tmp_path / "gone").rename(session.folder)
    summed = session.fill("total")
    assert json.loads(summed.run.file("total", "summary.json").read_text()) == summed.summary
    with pytest.raises(KeyError, match=r"wrote no file 'x\.png'; valid: summary\.json"):
        summed.run.file("total", "x.png")
    again = session.keep("summed", summed)
    assert portico.load(again).summary("total")["count"] == passed(loose) + passed(loose, "two")


def test_two_fills_compare(session: portico.Session) -> None:
    first, second = session.fill("select"), session.fill("select", cuts=CUT)
    assert not first.compare(second).equal
    assert first.compare(session.fill("select"), rtol=0).equal


def test_wrong_names_are_refused_with_what_is_valid(session: portico.Session, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no step 'selct'; did you mean 'select'"):
        session.fill("selct")
    with pytest.raises(ConfigError, match="no option 'cutz'; did you mean 'cuts'"):
        session.fill("select", cutz=CUT)
    with pytest.raises(ConfigError, match="no sample 'on'; did you mean 'one'"):
        session.fill("select", samples=["on"])
    with pytest.raises(ConfigError, match=r"values that analysis\.yaml could have"):
        session.fill("select", cuts={"x": object()})
    with pytest.raises(ConfigError, match=r"could have: cuts: the key 1 is not text"):
        session.fill("select", cuts={1: "x > 1"})
    with pytest.raises(ConfigError, match="computed from all samples"):
        session.fill("total", samples=["one"])
    with pytest.raises(ConfigError, match="no step was filled yet"):
        session.keep("kept")
    wrong = session.fill("select", cuts={"y": "x > 1"})
    with pytest.raises(StepError, match="no cut 'y'; valid: x"):
        wrong.wait()
    assert wrong.state == "failed"
    fill = session.fill("select")
    with pytest.raises(KeyError, match="no sample 'on'; did you mean 'one'"):
        fill["on"]
    with pytest.raises(ConfigError, match="exists already"):
        fill.keep("run")
    with pytest.raises(ConfigError, match="needs a notebook"):
        fill.show()
    session.close()
    with pytest.raises(ConfigError, match="closed"):
        session.fill("select")


def test_a_display_names_the_extra_that_it_needs(session: portico.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython.core.getipython", None)
    with pytest.raises(MissingExtra, match=r"portico-hep\[notebook\]"):
        session.fill("select", samples=["one"]).show()


def test_ctrl_c_ends_the_waiting_alone(session: portico.Session, tmp_path: Path) -> None:
    fill = half_done(session, tmp_path / "gate")
    main = threading.main_thread().ident or 0
    threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt) as interrupted:
        fill.wait(60)
    assert "continues" in interrupted.value.__notes__[0]
    assert fill.state == "running"
    (tmp_path / "gate" / "open").touch()
    assert fill.wait().state == "done"


def test_words_are_escaped(session: portico.Session) -> None:
    fill = session.fill("select", cuts={"x": "x < 5 && n > 0"}).wait()
    results = fill["one"]
    assert repr(results).startswith("results of 'one', 3 products\nproduct")
    assert ">chosen</td>" in results._repr_html_()
    flow = Cutflow(("a < 5",), (10,), (4,), (10.0, 4.0), (3.0, 2.0), note="a < b")
    cells = re.findall("<td[^>]*>([^<]*)</td>", flow._repr_html_())
    assert cells == ["a &lt; 5", "10", "4", "40.00%", "40.00%", "4", "2"]
    assert "a &lt; b" in flow._repr_html_()
    assert "x < 5 && n > 0" in repr(fill)
    assert "done" in repr(fill)
    html = fill._repr_html_()
    assert "x &lt; 5 &amp;&amp; n &gt; 0" in html
    assert ">one</td>" in html
    drawn = page("a < b", fill.result(), ["x"], Blinding())
    (address,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', drawn)
    picture = ET.fromstring(base64.b64decode(address))
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert "svg.plot path" in (picture[0].text or "")  # its style, and none for the rest of the notebook
    assert "<style" not in drawn
    assert "a &lt; b" in drawn
    assert "no one-dimensional histogram matches y" in page("", fill.result(), ["y"], Blinding())
