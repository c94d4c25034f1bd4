"""What follows a failure, chunks in halves, and what a partial run has lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.results.product import Product, decode, encode
from portico.runfolder.ledger import Lost, Planned
from portico.worker.task import Done, Failed, Task
from portico.workflow.partial_runs import completeness_of, losses
from portico.workflow.plan import Plan, reduced
from portico.workflow.retry_policy import DEATHS, TRANSIENTS, Record, Way, decide
from portico.workflow.split_chunks import Halves


def task(first: int = 0, last: int = 100, key: str = "k") -> Task:
    return Task(key, 1, Chunk("root://a//f", "u", "t", first, last), "m:f", {}, {}, "out")


def ways(kind: str, places: int = 1, entries: int = 100) -> list[Way]:
    """What is decided as one failure follows another, until the chunk is not tried again."""
    record, found = Record(places), []
    while True:
        verdict = decide(Failed(task(0, entries), kind, "why"), record)  # type: ignore[arg-type]
        found.append(verdict.way)
        if verdict.way is not Way.RETRY:
            return found


@pytest.mark.parametrize(
    ("kind", "places", "expected"),
    [
        ("user", 1, [Way.STOP]),
        ("internal", 2, [Way.STOP]),
        ("crash", 1, [Way.RETRY] * (DEATHS - 1) + [Way.GIVE_UP]),
        ("lost", 1, [Way.RETRY] * (DEATHS - 1) + [Way.GIVE_UP]),
        ("space", 1, [Way.RETRY] * (DEATHS - 1) + [Way.STOP]),
        ("transient", 1, [Way.RETRY] * (TRANSIENTS - 1) + [Way.QUARANTINE]),
        ("input", 1, [Way.QUARANTINE]),
        ("input", 3, [Way.RETRY, Way.RETRY, Way.QUARANTINE]),
        ("memory", 1, [Way.HALVE]),
    ],
)
def test_each_kind_has_its_policy(kind: str, places: int, expected: list[Way]) -> None:
    assert ways(kind, places) == expected


def test_waits_grow_and_the_next_place_is_tried() -> None:
    record = Record(places=2)
    verdicts = [decide(Failed(task(), "transient", "Operation expired"), record) for _ in range(TRANSIENTS - 1)]
    assert [verdict.after for verdict in verdicts] == [1, 2, 4, 8, 16]
    assert all(verdict.next_place for verdict in verdicts)
    assert "next place" in verdicts[0].words
    assert not decide(Failed(task(), "transient", ""), Record(places=1)).next_place


def test_a_store_that_stays_away_stops_the_run() -> None:
    record, sent = Record(), replace(task(), folder="root://s//out")
    failed = Failed(sent, "transient", "root://s//out/x.part: cannot be written: Connection refused")
    assert [decide(failed, record).way for _ in range(TRANSIENTS)] == [Way.RETRY] * (TRANSIENTS - 1) + [Way.STOP]


def test_a_chunk_of_one_entry_cannot_be_halved() -> None:
    assert ways("memory", entries=1) == [Way.GIVE_UP]


def counted(part: Task) -> Done:
    """What a step that keeps every entry's number, and counts, gives for a task."""
    numbers = np.arange(part.chunk.first, part.chunk.last)
    products = {
        "numbers": Product("array", {}, {"entry": numbers}, ()),
        "n": Product("count", {}, {"value": np.array([len(numbers)])}, ()),
    }
    return Done(part, encode(products), {"entries": len(numbers), "wall": 1.0, "peak_memory": part.chunk.entries})


@given(last=st.integers(2, 200), order=st.randoms(use_true_random=False), depth=st.integers(1, 4))
def test_halves_become_the_whole_chunk_again(last: int, order: object, depth: int) -> None:
    halves, whole = Halves(), task(0, last)
    parts = [whole]
    for _ in range(depth):
        cut = next((part for part in parts if part.chunk.entries > 1), None)
        if cut is None:
            break
        parts.remove(cut)
        parts += halves.cut(cut)
    assert all(halves.whole(part) is whole for part in parts)
    assert len({part.key for part in parts}) == len(parts)
    order.shuffle(parts)  # type: ignore[attr-defined]
    joined = [done for part in parts if (done := halves.join(counted(part))) is not None]
    assert len(joined) == 1
    assert joined[0].task is whole
    products = decode(joined[0].partial)
    assert products["numbers"].arrays["entry"].tolist() == list(range(last))
    assert products["n"].arrays["value"].tolist() == [last]
    assert joined[0].metrics["entries"] == last
    assert joined[0].metrics["peak_memory"] < last


def plan_of(chunks_per_file: int, files: int) -> Plan:
    planned = [
        Planned("s", n, f"key{n}", Chunk(f"f{n // chunks_per_file}.root", "u", "t", 10 * n, 10 * n + 10))
        for n in range(files * chunks_per_file)
    ]
    return Plan({"s": planned}, {}, {"s": Sample(name="s")})


def failed(plan: Plan, position: int, kind: str) -> Failed:
    planned = plan.chunks["s"][position]
    return Failed(Task(planned.key, 1, planned.chunk, "m:f", {}, {}, ""), kind, "why")  # type: ignore[arg-type]


def test_a_bad_file_is_lost_whole_and_a_poisonous_chunk_alone() -> None:
    plan = plan_of(4, 5)
    lost = losses(plan, [failed(plan, 5, "input"), failed(plan, 6, "transient"), failed(plan, 12, "crash")])
    assert {loss.key for loss in lost} == {"key4", "key5", "key6", "key7", "key12"}
    assert completeness_of("s", plan.chunks["s"], lost) == pytest.approx(15 / 20)
    assert completeness_of("other", plan.chunks["s"], lost) == 1


def test_each_file_that_could_not_be_opened_is_lost() -> None:
    unopened = tuple(Lost("s", "", f"cut{n}.root", 10, "input", "truncated") for n in range(2))
    plan = replace(plan_of(4, 5), lost=unopened)
    lost = losses(plan, [failed(plan, 0, "crash")])
    assert [loss.file for loss in lost] == ["cut0.root", "cut1.root", "f0.root"]
    assert completeness_of("s", plan.chunks["s"], lost) == pytest.approx(1 - 30 / 220)


@given(fraction=st.floats(0.01, 0.99), earlier=st.floats(0.01, 1.0))
def test_a_reduced_sample_is_worth_less(fraction: float, earlier: float) -> None:
    data = reduced(Sample(name="d", luminosity=5.0, completeness=earlier), fraction)
    assert data.luminosity == pytest.approx(5 * fraction)
    assert data.completeness == pytest.approx(earlier * fraction)
    simulated = Sample(name="s", kind="signal", luminosity=5.0, processed_events=1e6)
    assert reduced(simulated, fraction).processed_events == pytest.approx(1e6 * fraction)
    assert reduced(simulated, fraction).luminosity == 5.0
    assert reduced(simulated, 1.0) is simulated
