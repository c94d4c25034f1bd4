"""Storms on the run folder: whatever happens to its files, results are the same bit for bit, or an error says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from portico.executors.local import LocalExecutor
from tests.storms.bench import Bench
from tests.storms.faults import FAULTS
from tests.storms.storm import storm

pytestmark = [pytest.mark.integration, pytest.mark.full]

STORMS = 120


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, single: LocalExecutor) -> Bench:
    return Bench(tmp_path_factory.mktemp("storms"), single)


@pytest.mark.timeout(3600)
def test_nothing_is_silently_wrong(bench: Bench) -> None:
    """Random faults of all kinds; ``python -m tests.storms.storm --first SEED --count 1 -v`` repeats one."""
    wrong = [str(verdict) for seed in range(STORMS) if (verdict := storm(bench, seed)).wrong]
    assert not wrong, "\n".join(wrong)


def test_one_fault_of_each_kind(bench: Bench) -> None:
    wrong = [str(v) for seed, name in enumerate(sorted(FAULTS)) if (v := storm(bench, seed, (name,))).wrong]
    assert not wrong, "\n".join(wrong)


def test_a_fault_that_is_not_seen_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The storms find what they are for: files that are not verified when they are used again."""
    from portico.files import kept

    def trusting(item: dict[str, object], path: str, stamp: str | None, _: object) -> kept.Kept:
        return kept.Kept(path, stamp, "" if stamp else "no such file any more")

    monkeypatch.setattr(kept, "_verified", trusting)
    verdicts = [storm(bench, seed, ("cut",)) for seed in range(12)]
    assert any("reading: " in text or "differs" in text or "old checksum" in text for v in verdicts for text in v.wrong)


def test_the_original_of_a_copy_is_compared(bench: Bench) -> None:
    name = next(iter(bench.templates))

    def careless(folder: Path, _: object) -> str:
        (bench.templates[name] / "touched").touch()
        return f"{folder} was left alone, its original was not"

    FAULTS["careless"] = careless  # type: ignore[assignment]
    try:
        verdicts = [storm(bench, seed, ("careless",)) for seed in range(6)]
    finally:
        del FAULTS["careless"]
        (bench.templates[name] / "touched").unlink()
    assert any("the original of the copy was touched" in text for verdict in verdicts for text in verdict.wrong)
