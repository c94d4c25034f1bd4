"""Chunks cover every entry once, at cluster boundaries, from the data alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.analysis.analysis import load_analysis
from portico.analysis.chunks import ChunkSize, plan, plan_generated, plan_points
from portico.errors import ConfigError
from portico.files import TreeSummary
from portico.workflow.plan import _cut


def summary(ends: list[int], entries: int, size: int) -> TreeSummary:
    return TreeSummary("f.root", "uuid", "Events", "TTree", entries, tuple(ends), size, ())


@st.composite
def files(draw: st.DrawFn) -> TreeSummary:
    clusters = draw(st.lists(st.integers(1, 50), max_size=30))
    ends = [sum(clusters[: i + 1]) for i in range(len(clusters))]
    entries = ends[-1] if ends else draw(st.integers(0, 200))
    return summary(ends, entries, draw(st.integers(0, 10_000)))


sizes = st.one_of(st.builds(ChunkSize, entries=st.integers(1, 300)), st.builds(ChunkSize, size=st.integers(1, 20_000)))


@given(st.lists(files(), max_size=5), sizes)
def test_every_entry_is_in_exactly_one_chunk(inputs: list[TreeSummary], target: ChunkSize) -> None:
    chunks = list(plan(inputs, target))
    assert all(chunk.first < chunk.last for chunk in chunks)
    covered = [entry for chunk in chunks for entry in range(chunk.first, chunk.last)]
    assert covered == [entry for file in inputs for entry in range(file.entries)]


@given(files(), sizes)
def test_a_chunk_names_what_it_was_cut_from(file: TreeSummary, target: ChunkSize) -> None:
    assert {(c.file, c.uuid, c.tree) for c in plan([file], target)} <= {("f.root", "uuid", "Events")}


def test_a_size_below_that_of_an_entry_gives_single_entries() -> None:
    assert len(list(plan([summary([], 10, 10_000)], ChunkSize(size=1)))) == 10
    assert len(list(plan([summary([], 10, 1)], ChunkSize(size=1)))) == 1
    assert len(list(plan([summary([], 10, 0)], ChunkSize(size=1)))) == 1, "nothing is known of the size"


@given(files(), sizes)
def test_clusters_are_never_cut(file: TreeSummary, target: ChunkSize) -> None:
    if file.ends:
        assert {chunk.last for chunk in plan([file], target)} <= set(file.ends)


@given(files(), st.integers(1, 300))
def test_chunks_reach_the_target_but_for_the_last(file: TreeSummary, entries: int) -> None:
    chunks = list(plan([file], ChunkSize(entries=entries)))
    assert all(chunk.entries >= entries for chunk in chunks[:-1])


def test_a_target_in_bytes_becomes_entries() -> None:
    chunks = list(plan([summary([], 1000, 10_000)], ChunkSize.parse("1 kB")))
    assert [(c.first, c.last) for c in chunks] == [(i, i + 100) for i in range(0, 1000, 100)]


def test_millions_of_entries_and_one() -> None:
    assert len(list(plan([summary([], 5_000_000, 0)], ChunkSize(entries=50_000)))) == 100
    assert [(c.first, c.last) for c in plan([summary([1], 1, 10)], ChunkSize(size=10**9))] == [(0, 1)]


@given(st.integers(0, 10_000), st.integers(1, 5_000))
def test_generated_entries_are_covered_once(entries: int, target: int) -> None:
    chunks = list(plan_generated(entries, ChunkSize(entries=target)))
    assert [e for c in chunks for e in range(c.first, c.last)] == list(range(entries))
    assert {(c.file, c.uuid, c.tree) for c in chunks} <= {("", "", "")}


def test_more_chunks_than_fit_into_memory_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than 10,000,000 chunks; give the step a larger 'chunk'"):
        next(plan_generated(10**12, ChunkSize(entries=10_000)))


def test_generated_entries_have_no_bytes() -> None:
    with pytest.raises(ConfigError, match=r"^generated events have no size in bytes; give the chunk size in entries$"):
        list(plan_generated(10, ChunkSize(size=10)))


@given(st.integers(0, 1000), st.integers(1, 300))
def test_points_are_covered_once(number: int, per_chunk: int) -> None:
    chunks = list(plan_points(number, per_chunk))
    assert [p for c in chunks for p in range(c.first, c.last)] == list(range(number))
    assert len(chunks) == max(1, -(-number // per_chunk))
    assert str(chunks[-1]) == (f"points {chunks[-1].first}-{number - 1}" if number else "no points")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50 MB", ChunkSize(size=50_000_000)),
        ("1.5 GiB", ChunkSize(size=1_610_612_736)),
        ("20_000 entries", ChunkSize(entries=20_000)),
        ("5 events", ChunkSize(entries=5)),
        ("4 points", ChunkSize(entries=4)),
        (7, ChunkSize(entries=7)),
    ],
)
def test_sizes_are_read(text: str | int, expected: ChunkSize) -> None:
    assert ChunkSize.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "fifty MB", "10", "0 MB", "0 entries", "-5 MB", "1.5 entries", "3 parsecs", "9" * 400 + " MB",
     "9" * 305 + " GB", "9" * 400 + " entries"],
)  # fmt: skip
def test_other_sizes_are_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match="50 MB"):
        ChunkSize.parse(text)


@pytest.mark.parametrize(
    ("of_analysis", "of_step", "expected"),
    [("50 MB", "null", 10_000), ("3000 entries", "null", 3000), ("3000 entries", "500 entries", 500)],
)
def test_generated_samples_have_the_chunks_of_the_step_or_the_analysis(
    tmp_path: Path, of_analysis: str, of_step: str, expected: int
) -> None:
    (tmp_path / "analysis.yaml").write_text(
        f"name: made\nchunk: {of_analysis}\ndataset: {{samples: {{a: {{entries: 20000}}}}}}\n"
        f"steps: [{{name: make, function: 'steps:make', chunk: {of_step}}}]\n"
    )
    analysis = load_analysis(tmp_path)
    first, *_ = _cut(analysis, analysis.steps[0], analysis.dataset["a"], [])
    assert (first.first, first.last) == (0, expected)


@pytest.mark.parametrize("chunk", ["true", "1.5", "[5]", "0", "-3 entries", "1e400 MB"])
@pytest.mark.parametrize("where", ["analysis", "step"])
def test_what_is_no_size_of_a_chunk_is_refused(tmp_path: Path, chunk: str, where: str) -> None:
    of = {"analysis": "50 MB", "step": "null"} | {where: chunk}
    (tmp_path / "analysis.yaml").write_text(
        f"name: made\nchunk: {of['analysis']}\ndataset: {{samples: {{a: {{entries: 20000}}}}}}\n"
        f"steps: [{{name: make, function: 'steps:make', chunk: {of['step']}}}]\n"
    )
    with pytest.raises(ConfigError, match="write for example '50 MB' or '20000 entries'"):
        load_analysis(tmp_path)
