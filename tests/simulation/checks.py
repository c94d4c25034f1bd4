"""Checks of all that must hold after each driver, however it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from portico.errors import InputError, RunFolderError, SpaceError, StepError
from portico.files.kept import aside_of
from portico.results.partial import decode
from portico.results.product import Product
from portico.runfolder.ledger import Ledger, Planned
from portico.worker.task import Done, Failed, FailureKind, Outcome
from portico.workflow.retry_policy import DEATHS
from portico.workflow.trials import LEAST, TIMES
from tests.simulation.data import STEP, expected
from tests.simulation.disks import Disks
from tests.simulation.farm import Farm
from tests.simulation.life import Driver, Life
from tests.simulation.world import Violation

__all__ = ["check", "check_overtaken"]

_OF_FAULTS = (InputError, RunFolderError, SpaceError)


def _must(holds: bool, *words: object) -> None:
    if not holds:
        raise Violation(" ".join(map(str, words)))


def check(driver: Driver, life: Life, farm: Farm, disks: Disks) -> None:
    """Check all that must hold after a driver."""
    driver.note_failures(farm)
    if driver.overtaken:
        return  # nothing is its own any more, see `check_overtaken`
    ledger = Ledger(driver.folder / "ledger.sqlite", locks=driver.settings.locks)
    try:
        _check_ledger(ledger, driver, disks)
        if driver.error is not None:
            _check_error(driver, life, farm)
            _check_kept(ledger, driver, life, farm)
        elif not driver.was_killed:
            _check_end(ledger, driver, life, farm, disks)
    finally:
        ledger.close()


def check_overtaken(driver: Driver) -> None:
    """Check that a driver whose folder another one has taken over changes nothing any more, and says so.

    A power cut at its end comes after this: it may bring back files that the other one has removed.
    """
    _must(driver.content() == driver.overtaken, "a driver that was overtaken has changed ledger or trees")
    _must(driver.was_killed or driver.error is not None, "a driver that was overtaken does not say so")


def _check_ledger(ledger: Ledger, driver: Driver, disks: Disks) -> None:
    """What the ledger has said is there, also after a kill or a power cut: chunks, trees, and each once."""
    done = dict(ledger.all_done())
    gone = driver.acknowledged - done.keys()
    needed = set(driver.plan.by_key).union(*(ledger.chunks_of(*which) for which in ledger.result_sizes()))
    _must(not gone & needed, "chunks that were done are lost:", [key[:8] for key in gone & needed])
    driver.acknowledged -= gone  # of older code, and of no result that is kept
    paths: Counter[str] = Counter()
    merged = {key for (key,) in ledger._db.execute("SELECT key FROM done WHERE partial IS NULL").fetchall()}
    replaced = merged - ledger.done(STEP).keys()  # of a subtree of an earlier plan, and perhaps made again in this one
    for key, files in done.items():
        for file in files:
            path = str(file["path"])
            paths[path] += 1
            found = disks.files.get(path) or disks.files.get(aside_of(path))
            _must(found is not None, f"chunk {key[:8]} is done, and its tree {path} is not there")
            if found is not None and key not in replaced:
                _must(found.adler32 == file["adler32"], f"{path}: is not the tree that the ledger describes")
    _must(all(count == 1 for count in paths.values()), "a tree is of two chunks")
    rows = ledger._db.execute("SELECT key, COUNT(*) FROM attempt WHERE outcome = 'done' GROUP BY key").fetchall()
    twice = {key[:8]: count for key, count in rows if count > 1}
    _must(not twice or bool(driver.settings.separate < 10**8), "chunks were done twice:", twice)
    _check_attempts(ledger, driver)
    if driver.settings.claims:
        _must(not ledger.damage(), "the ledger is damaged")


def _check_attempts(ledger: Ledger, driver: Driver) -> None:
    """Each failure is noted once at most."""
    query = "SELECT key, number, outcome, COUNT(*) FROM attempt WHERE outcome != 'done' GROUP BY key, number, outcome"
    for key, number, outcome, count in ledger._db.execute(query).fetchall():
        there = driver.failed[key, number, outcome]
        _must(count <= there, f"chunk {key[:8]}, attempt {number}: {count} failures are noted, and {there} came")


def _check_end(ledger: Ledger, driver: Driver, life: Life, farm: Farm, disks: Disks) -> None:
    """What a driver that came to its end has left: losses, results and files."""
    _must(not life.data.troubles(FailureKind.USER), "the step's code fails, and the run does not")
    plan = driver.plan
    lost = {loss.key for loss in ledger.lost(STEP)}
    _check_losses(life, farm, lost, plan.by_key)
    state = "done" if not lost else "partial" if life.allow_partial else "failed"
    _must(driver.reporter.state == state, f"the step is '{driver.reporter.state}', and should be '{state}'")
    for sample, chunks in plan.chunks.items():
        _check_result(ledger, life, sample, chunks, lost, disks)
    _check_files(driver, ledger, disks)


def _check_error(driver: Driver, life: Life, farm: Farm) -> None:
    error = driver.error
    if driver.world.faults and (isinstance(error, _OF_FAULTS) or "interrupted" in str(error)):
        return
    kinds = {failed.kind for failed in farm.failures}
    crashed = sum(failed.kind in {FailureKind.CRASH, FailureKind.TIMEOUT} for failed in farm.failures)
    outgrown = len({failed.task.key[:64] for failed in farm.failures if failed.kind is FailureKind.MEMORY})
    allowed = {
        "StepError": bool(kinds & {FailureKind.USER}) or crashed + TIMES * outgrown >= TIMES * LEAST,
        "SpaceError": FailureKind.SPACE in kinds and not life.mood.is_bounded,
        "RunFolderError": FailureKind.DISK in kinds and not life.mood.is_bounded,
        "PorticoError": FailureKind.INTERNAL in kinds,
        "InputError": (life.allow_partial and "no chunk could be read" in str(error))
        or "no file can be read" in str(error),
    }
    _must(allowed.get(type(error).__name__, False), f"nothing explains the error {error!r}")
    if isinstance(error, InputError):
        lost = {failed.task.key[:64] for failed in farm.failures}
        _must(bool(lost), "no chunk failed, and none could be read")
    if isinstance(error, StepError) and FailureKind.USER not in kinds and life.mood.is_bounded:
        fatal = life.data.troubles(FailureKind.CRASH) + life.data.troubles(FailureKind.MEMORY)
        _must(fatal >= DEATHS, "the step is blamed for workers that died")


def _check_kept(ledger: Ledger, driver: Driver, life: Life, farm: Farm) -> None:
    """What a driver got before the user interrupted it, or the step's code failed, is in the ledger."""
    if driver.world.faults not in ([], ["interrupt"]) or not life.mood.is_bounded:
        return
    failed = {failed.task.key for failed in farm.failures}
    kept = ledger.done(STEP).keys()
    gone = {key for key in farm.done - failed - life.data.lost() if len(key) == 64} - kept
    _must(not gone, "results that came before the end of a run are not kept:", [key[:8] for key in gone])


def _check_losses(life: Life, farm: Farm, lost: set[str], by_key: dict[str, Planned]) -> None:
    predicted = life.data.lost()
    _must(predicted <= lost, "chunks that cannot be read are not named:", [key[:8] for key in predicted - lost])
    if life.mood.is_bounded:
        extra = lost - predicted
        is_alone = life.mood.is_blind and _nothing_else_was_read(farm.outcomes, by_key, extra)
        _must(not extra or is_alone, "chunks are lost that can be read:", [key[:8] for key in extra])
        return
    failures = Counter((f.task.key[:64], f.kind) for f in farm.failures)
    # A farm that goes on between drivers has also run chunks of an earlier input.
    bad = {by_key[key].chunk.file for key, kind in failures if kind.is_of_the_file and key in by_key}
    for key in lost - predicted:
        deaths = sum(count for (k, kind), count in failures.items() if k == key and kind.is_of_the_worker)
        _must(
            by_key[key].chunk.file in bad or deaths >= DEATHS or (key, FailureKind.MEMORY) in failures,
            f"nothing explains that chunk {key[:8]} is lost",
        )


def _nothing_else_was_read(outcomes: Sequence[Outcome], by_key: Mapping[str, Planned], lost: set[str]) -> bool:
    """With nothing else to read once a file was refused, what the machines that are there say of it decides."""
    files = {by_key[key].chunk.file for key in lost}
    was_refused = False
    for outcome in outcomes:
        if (planned := by_key.get(outcome.task.key[:64])) is None:  # of an earlier input
            continue
        file = planned.chunk.file
        was_refused |= isinstance(outcome, Failed) and outcome.kind is FailureKind.INPUT and file in files
        if was_refused and isinstance(outcome, Done) and file not in files:
            return False
    return was_refused


def _check_result(
    ledger: Ledger, life: Life, sample: str, chunks: Sequence[Planned], lost: set[str], disks: Disks
) -> None:
    left = [planned for planned in chunks if planned.key not in lost]
    data = ledger.result(STEP, sample)
    if len(left) < len(chunks) and not life.allow_partial:
        _must(data is None, f"sample '{sample}' has a result without its lost chunks")
        return
    _must(data is not None, f"sample '{sample}' has no result")
    assert data is not None
    found, wanted = decode(data), expected(life.data.code, left)
    assert wanted is not None
    for product, array, name in (
        ("h", "values", "values"), ("h", "sumw2", "sumw2"), ("h", "entries", "entries"), ("n", "value", "n"),
        ("events", "event", "event"),
    ):  # fmt: skip
        is_equal = found[product].arrays[array].tobytes() == wanted[name].tobytes()
        if not is_equal:
            raise Violation(f"sample '{sample}': {name} are {found[product].arrays[array]}, not {wanted[name]}")
    share = sum(planned.chunk.entries for planned in left) / sum(planned.chunk.entries for planned in chunks)
    _must(np.isclose(ledger.completeness(STEP, sample), share, rtol=1e-12), f"sample '{sample}' is wrongly weighted")
    _check_trees(ledger, sample, found["kept"], disks)


def _check_trees(ledger: Ledger, sample: str, product: Product, disks: Disks) -> None:
    named = [item["path"] for item in product.items]
    of_chunks = [file["path"] for files in ledger.outputs(STEP, sample) for file in files]
    _must(named == of_chunks, f"sample '{sample}': its trees are {named}, those of its chunks {of_chunks}")
    for item in product.items:
        file = disks.files.get(item["path"])
        _must(file is not None and file.adler32 == item["adler32"], f"{item['path']}: is not the tree of the result")


def _check_files(driver: Driver, ledger: Ledger, disks: Disks) -> None:
    """The folder of the step holds the trees of the ledger, and nothing else."""
    there = set(disks.listed(f"{driver.settings.store}/{STEP}"))
    wanted = ledger.trees_of(STEP)
    _must(there == wanted, "files that the ledger does not have:", there - wanted, "missing:", wanted - there)
