"""Responses to failures, chunks in halves, and the losses of a partial run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.results.partial import decode, encode
from portico.results.product import Product, ProductKind
from portico.runfolder.ledger import Lost, Planned
from portico.worker.task import Done, Failed, FailureKind, Task
from portico.workflow.partial_runs import completeness_of, losses
from portico.workflow.plan import Plan, reduced
from portico.workflow.retry_policy import (
    DEATHS,
    DOUBTS,
    LOSSES,
    TRANSIENTS,
    Action,
    Evidence,
    History,
    Response,
    patience,
    respond,
)
from portico.workflow.split_chunks import Halves


def task(first: int = 0, last: int = 100, key: str = "k") -> Task:
    return Task(key, 1, Chunk("root://a//f", "u", "t", first, last), "m:f", {}, {}, "out")


WITNESSED = Evidence()


def actions(
    kind: FailureKind, replicas: int = 1, entries: int = 100, evidence: Evidence = WITNESSED
) -> list[Action]:
    """What follows as one failure comes after another, until the chunk is not tried again."""
    history, found = History(replicas), []
    while True:
        history = history.after(kind)
        found.append(respond(Failed(task(0, entries), kind, "why"), history, evidence).action)
        if found[-1] is Action.DOUBT:
            history = replace(history, doubts=history.doubts + 1)
        elif found[-1] is not Action.RETRY:
            return found


@pytest.mark.parametrize(
    ("kind", "replicas", "expected"),
    [
        (FailureKind.USER, 1, [Action.STOP]),
        (FailureKind.INTERNAL, 2, [Action.STOP]),
        (FailureKind.CRASH, 1, [Action.RETRY] * (DEATHS - 1) + [Action.GIVE_UP]),
        (FailureKind.TIMEOUT, 1, [Action.RETRY] * (DEATHS - 1) + [Action.GIVE_UP]),
        (FailureKind.LOST, 1, [Action.RETRY] * (LOSSES - 1) + [Action.GIVE_UP]),
        (FailureKind.SPACE, 1, [Action.RETRY] * (DEATHS - 1) + [Action.STOP]),
        (FailureKind.DISK, 1, [Action.RETRY] * (DEATHS - 1) + [Action.STOP]),
        (FailureKind.TRANSIENT, 1, [Action.RETRY] * (TRANSIENTS - 1) + [Action.QUARANTINE]),
        (FailureKind.INPUT, 1, [Action.DOUBT, Action.QUARANTINE]),
        (FailureKind.INPUT, 3, [Action.RETRY, Action.RETRY, Action.DOUBT] + [Action.RETRY] * 2 + [Action.QUARANTINE]),
        (FailureKind.MEMORY, 1, [Action.SPLIT]),
    ],
)
def test_each_kind_has_its_policy(kind: FailureKind, replicas: int, expected: list[Action]) -> None:
    assert actions(kind, replicas) == expected


@pytest.mark.parametrize("kind", FailureKind)
def test_kinds_say_what_follows_from_them(kind: FailureKind) -> None:
    action = actions(kind)[-1]
    assert kind.stops_the_run == (actions(kind) == [Action.STOP])
    assert kind.is_of_the_file == (action is Action.QUARANTINE)
    avoids = respond(Failed(task(), kind, ""), History().after(kind)).on_another_worker
    assert (kind.is_of_the_worker or kind.is_of_the_file) == avoids


def test_without_a_witness_a_file_is_doubted_some_times_more() -> None:
    nobody = Evidence(has_witness=False)
    assert actions(FailureKind.INPUT, evidence=nobody) == [Action.DOUBT] * DOUBTS + [Action.QUARANTINE]
    expected = [Action.RETRY] * (TRANSIENTS - 1) + [Action.DOUBT] * DOUBTS + [Action.QUARANTINE]
    assert actions(FailureKind.TRANSIENT, evidence=nobody) == expected
    alone = Evidence(has_witness=False, is_alone=True)
    assert actions(FailureKind.INPUT, evidence=alone) == [Action.DOUBT, Action.QUARANTINE]
    told = respond(Failed(task(), FailureKind.INPUT, "cut"), History(refusals=2, doubts=1), alone).message
    assert "no other file was read since" in told


def test_evictions_lose_nothing_and_a_chunk_that_loses_its_worker_is_found() -> None:
    """Of 10^5 chunks whose attempts are evicted with 5%, less than 0.001 may be given up; also with 20%."""
    for rate in (0.05, 0.2):
        often = patience(10**5, int(rate * 10**4), 10**4)
        assert 10**5 * rate**often < 1e-3
        assert often <= LOSSES
    assert patience(10**5, 0, 10**5) == DEATHS, "nobody else loses a worker"
    assert patience(1, 0, 0) == LOSSES, "nobody else has run yet"
    assert actions(FailureKind.LOST, evidence=Evidence(losses=DEATHS))[DEATHS - 1 :] == [Action.GIVE_UP]


def transients(replicas: int, failed: Failed) -> list[Response]:
    history, found = History(replicas), []
    for _ in range(TRANSIENTS):
        history = history.after(failed.kind)
        found.append(respond(failed, history))
    return found


def test_waits_grow_and_the_next_replica_is_read() -> None:
    found = transients(2, Failed(task(), FailureKind.TRANSIENT, "Operation expired"))[:-1]
    assert [response.delay for response in found] == [1, 2, 4, 8, 16]
    assert all(response.from_next_replica for response in found)
    assert "next replica" in found[0].message
    assert not transients(1, Failed(task(), FailureKind.TRANSIENT, ""))[0].from_next_replica


def test_a_store_that_stays_away_stops_the_run() -> None:
    sent = replace(task(), folder="root://s//out")
    text = "root://s//out/x.part: cannot be written: Connection refused"
    found = [response.action for response in transients(1, Failed(sent, FailureKind.TRANSIENT, text))]
    assert found == [Action.RETRY] * (TRANSIENTS - 1) + [Action.STOP]


def test_halves_of_points_have_their_points() -> None:
    first, second = replace(task(0, 5), points=(1, 2, 3, 4, 5)).split()
    assert (first.points, second.points) == ((1, 2), (3, 4, 5))
    assert (str(first.chunk), second.chunk.first) == (str(task(0, 2).chunk), 2)
    assert Task.from_json(json.loads(json.dumps(first.to_json()))).points == (1, 2)


def test_a_chunk_of_one_entry_cannot_be_halved() -> None:
    assert actions(FailureKind.MEMORY, entries=1) == [Action.GIVE_UP]


def counted(part: Task) -> Done:
    """What a step that keeps every entry's number, and counts, gives for a task."""
    numbers = np.arange(part.chunk.first, part.chunk.last)
    products = {
        "numbers": Product(ProductKind.ARRAY, {}, {"entry": numbers}, ()),
        "n": Product(ProductKind.COUNT, {}, {"value": np.array([len(numbers)])}, ()),
    }
    return Done(part, encode(products), {"entries": len(numbers), "wall": 1.0, "peak_memory": part.chunk.entries})


def join_all(halves: Halves, done: Done) -> Done | None:
    joined: Done | None = done
    while joined is not None and halves.is_half(joined.task):
        joined = halves.join(joined)
    return joined


@given(last=st.integers(2, 200), order=st.randoms(use_true_random=False), depth=st.integers(1, 4))
def test_halves_become_the_whole_chunk_again(last: int, order: object, depth: int) -> None:
    halves, whole = Halves(), task(0, last)
    parts = [whole]
    for _ in range(depth):
        cut = next((part for part in parts if part.chunk.entries > 1), None)
        if cut is None:
            break
        parts.remove(cut)
        parts += halves.split(cut)
    assert all(halves.planned(part) is whole for part in parts)
    assert len({part.key for part in parts}) == len(parts)
    order.shuffle(parts)  # type: ignore[attr-defined]
    joined = [done for part in parts if (done := join_all(halves, counted(part))) is not None]
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
    return Failed(Task(planned.key, 1, planned.chunk, "m:f", {}, {}, ""), FailureKind(kind), "why")


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
