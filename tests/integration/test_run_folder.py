"""Run folders that are copied, moved, damaged, cut, or whose parts are gone: each is made whole, or named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import portico
from portico.executors.local import LocalExecutor
from tests.conftest import Remember
from tests.storms.bench import CUTS, Bench, everything, files_agree, listing

pytestmark = pytest.mark.integration

NOTHING = {"skim": 0, "fill": 0, "total": 0, "scan": 0}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, local: LocalExecutor) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), local)


@pytest.fixture
def whole(bench: Bench) -> Iterator[Path]:
    """A copy of a run that is done."""
    with bench.copy("whole", "copied") as folder:
        yield folder


def test_a_copy_is_a_run_of_its_own(bench: Bench) -> None:
    """Of two cuts, at the end of a run and in the middle of one: no more runs, and the original is not touched."""
    for template, cut, ran in (
        ("both", CUTS[1], NOTHING),
        ("begun", CUTS[0], {**NOTHING, "fill": 4, "total": 1, "scan": 3}),
    ):
        before = listing(bench.templates[template])
        with bench.copy(template, "copied") as folder:
            reporter = Remember()
            run = bench.run(folder, cut, reporter)
            assert {**reporter.ran, "skim": 0} == ran
            assert everything(run) == bench.expected[cut]
            assert not files_agree(run, bench.expected[cut])
            assert all(path.startswith(f"{folder}/") for path in run["skim"]["a"]["tree"])
            if template == "both":  # back to the older cut, of which the copy has the trees
                assert everything(portico.load(f"{folder}@previous")) == bench.expected[CUTS[0]]
                run = bench.run(folder, CUTS[0], reporter)
                assert reporter.ran == NOTHING
                assert not files_agree(run, bench.expected[CUTS[0]])
        assert listing(bench.templates[template]) == before


def test_a_moved_folder_is_read_and_resumed_where_it_lies(bench: Bench, whole: Path) -> None:
    moved = whole.with_name("elsewhere") / "run"
    moved.parent.mkdir()
    whole.rename(moved)
    assert everything(portico.load(moved)) == bench.expected[CUTS[0]]
    reporter = Remember()
    run = bench.run(moved, CUTS[0], reporter)
    assert reporter.ran == NOTHING
    assert not reporter.warnings
    assert not files_agree(run, bench.expected[CUTS[0]])


def test_what_others_put_among_the_trees_is_not_removed(bench: Bench, whole: Path) -> None:
    names = ["skim/a/mine.root", "skim/a/kept-000000-00000000.root", "skim/a/notes.txt", "skim/mine.root",
             "fill/.x.part", "older.results/skim/@0123456789abcdef/mine.root"]  # fmt: skip
    for name in names:
        (whole / name).parent.mkdir(parents=True, exist_ok=True)
        (whole / name).write_text(name)
    reporter = Remember()
    bench.run(whole, CUTS[1])
    run = bench.run(whole, CUTS[0], reporter)
    assert not files_agree(run, bench.expected[CUTS[0]])
    found = {path.read_text() for path in whole.rglob("*") if path.is_file() and path.stat().st_size < 60}
    assert found >= set(names)
    assert (whole / "foreign.files" / "skim" / "a" / "mine.root").read_text() == "skim/a/mine.root"


def test_foreign_trees_are_told(bench: Bench, whole: Path) -> None:
    (whole / "skim" / "b" / "mine.root").write_text("mine")
    reporter = Remember()
    bench.run(whole, CUTS[0], reporter)
    [warning] = reporter.warnings
    assert "skim/b/mine.root is not of this run, and a pattern such as" in warning
    assert "foreign.files/skim/b/mine.root" in warning


def test_paths_that_are_written_are_relative(bench: Bench, whole: Path) -> None:
    place = f"{bench.templates['whole']}/".encode()  # ROOT files have the name of when they were written, unused
    for path in whole.rglob("*"):
        if path.suffix in {".json", ".sqlite"}:
            assert place not in path.read_bytes(), path
    manifest = json.loads((whole / "skim" / "a" / "manifest.json").read_text())
    assert [whole / item["path"] for item in manifest["tree"]["files"]] == sorted((whole / "skim" / "a").glob("*.root"))


def test_a_copy_keeps_from_the_store_of_the_original(bench: Bench, tmp_path: Path) -> None:
    store, own, original, copy = (tmp_path / name for name in ("store", "own", "run", "copy"))
    bench.run(original, CUTS[0], store=str(store))
    shutil.copytree(original, copy)
    before = listing(store)
    with pytest.raises(
        portico.errors.RunFolderError, match=r"is a copy of .*choose a new or empty folder with --store"
    ):
        bench.run(copy, CUTS[1])
    reporter = Remember()
    run = bench.run(copy, CUTS[0], reporter, store=str(own))
    assert reporter.ran == NOTHING, "trees are read from where they are"
    assert everything(run) == bench.expected[CUTS[0]]
    run = bench.run(copy, CUTS[1])
    assert everything(run) == bench.expected[CUTS[1]]
    assert all(path.startswith(f"{own}/") for path in run["skim"]["a"]["tree"])
    assert listing(store) == before
