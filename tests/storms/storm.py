"""Random faults on a run folder, then what a user may do there. A seed repeats a storm.

    python -m tests.storms.storm [--first SEED] [--count N] [--keep] [--weather WEATHER] [FAULT ...]

Of each storm: whatever is done after the faults either gives the numbers of the undisturbed run, bit for bit, or fails
with an error of portico that names its subject. At last the same command, after ``portico repair`` if an error asks for
it, makes everything whole; what the run did not write is still there, and the original of a copy is untouched.
"""

from __future__ import annotations

import argparse
import errno
import faulthandler
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from click.testing import CliRunner

import portico
from portico.cli import cli
from portico.errors import PorticoError
from portico.executors.local import LocalExecutor
from tests.conftest import Remember
from tests.faulty import can_mount, read_only
from tests.storms.bench import CUTS, Bench, everything, files_agree, listing
from tests.storms.faults import FAULTS
from tests.storms.weathers import WEATHERS

__all__ = ["Storm", "Verdict", "storm"]

_NEVER, _FULL = ("bug in portico", "Traceback"), ("disk is full", "no space left")
"""Words that no error may have, and those that none may have unless the disk is full."""
_NO_SPACE = (f":{errno.ENOSPC}", f":{errno.EDQUOT}")
_WEATHERS = (*["calm"] * len(WEATHERS), "full", "read-only", *WEATHERS)
_LONG = 120
"""Seconds that anything may take."""


class _Hangs(BaseException):
    """Something takes too long."""


@dataclass(slots=True)
class Verdict:
    """What came of a storm.

    Parameters
    ----------
    seed : int
        Repeats it.
    told : list of str
        What was done, in order, and what it answered.
    wrong : list of str
        What must not be.
    named : int
        Errors of portico.
    faults : int
        What was done to files, and what went on around.
    ends : str
        ``equal`` if everything is whole at last, or ``named``.
    """

    seed: int
    told: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    named: int = 0
    faults: int = 0
    ends: str = "named"

    def __str__(self) -> str:
        return "\n".join(
            [f"seed {self.seed}:", *(f"  {line}" for line in self.told), *(f"  WRONG: {w}" for w in self.wrong)]
        )


@contextmanager
def _limit(what: str) -> Iterator[None]:
    def alarm(_: int, __: FrameType | None) -> None:
        raise _Hangs(what)

    before = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(_LONG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def storm(
    bench: Bench, seed: int, faults: tuple[str, ...] = (), keep: bool = False, weather: str | None = None
) -> Verdict:
    """Let a storm pass over a copy of a run folder.

    Parameters
    ----------
    bench : Bench
        The analysis.
    seed : int
        Repeats the storm.
    faults : tuple of str
        Names of faults, instead of random ones.
    keep : bool
        Leave the folder if anything is wrong.
    weather : str, optional
        What goes on around, instead of anything at random.
    """
    chance, verdict = random.Random(seed), Verdict(seed)
    template = chance.choice(sorted(bench.templates))
    source = bench.templates[template]
    before = listing(source)
    faulthandler.dump_traceback_later(10 * _LONG, exit=True)  # where a signal is not heard
    weather = weather or ("calm" if faults else chance.choice(_WEATHERS))
    weather = "calm" if weather in {"full", "read-only"} and not can_mount() else weather
    with (
        bench.copy(template, f"storm{seed}", on_small_disk=weather == "full") as folder,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        verdict.told.append(f"a copy of '{template}', {weather}")
        Storm(bench, folder, chance, verdict, 41 if template != "both" else 42, weather).pass_over(faults)
        if keep and verdict.wrong:
            shutil.copytree(folder.parent, bench.place / f"kept{seed}", symlinks=True, dirs_exist_ok=True)
    faulthandler.cancel_dump_traceback_later()
    if listing(source) != before:
        verdict.wrong.append("the original of the copy was touched")
        after = listing(source)
        verdict.wrong += [f"  {name}" for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    return verdict


class Storm:
    """A storm over one folder; parameters as of `storm`."""

    def __init__(
        self, bench: Bench, folder: Path, chance: random.Random, verdict: Verdict, cut: int, weather: str
    ) -> None:
        self.bench, self.folder, self.chance, self.verdict, self.cut = bench, folder, chance, verdict, cut
        self.weather, self.never = weather, _NEVER if weather in {"full", "full_store"} else (*_NEVER, *_FULL)
        self.other = 83 - cut
        self.strangers: list[Path] = []
        self.in_killed = False

    def pass_over(self, faults: tuple[str, ...]) -> None:
        """Do the faults, and what a user may do then."""
        names = faults or tuple(self.chance.choice(sorted(FAULTS)) for _ in range(self.chance.choice([1, 1, 2, 3])))
        for name in names:
            try:
                said = FAULTS[name](self.folder, self.chance)
            except (OSError, IndexError) as error:
                said = f"{name}: cannot be done: {error}"
            if said.endswith("is the user's"):
                self.strangers.append(self.folder / said.partition(" ")[0])
            self.verdict.told.append(said)
            self.verdict.faults += 1
        self.verdict.faults += self.weather != "calm"
        self.strangers = [path for path in self.strangers if path.exists()]
        with self._weather():
            self._live()
        self._last()

    @contextmanager
    def _weather(self) -> Iterator[None]:
        match self.weather:
            case "full":
                disk, free = self.folder.parent, os.statvfs(self.folder).f_bavail * 4096
                left = self.chance.choice([0, 4096, 20_000, 100_000])
                (disk / "ballast").write_bytes(bytes(max(0, free - left)))
                yield
                (disk / "ballast").unlink()
            case "read-only":
                with read_only(self.folder):
                    yield
            case "calm":
                yield
            case _:
                self.verdict.told.append(f"{self.weather}: {WEATHERS[self.weather](self)}")
                self.in_killed = True  # of which cut it holds results, depends on when
                yield
                self.in_killed = False

    def elsewhere(self, environment: dict[str, str]) -> str:
        """Run the other cut in a process with faults of its own, and look at how it ends; return that."""
        status, said = self.bench.run_elsewhere(self.folder, self.other, environment)
        self.verdict.named += status == 1
        if status is None:
            self.verdict.wrong.append("a run elsewhere: hangs")
        elif status not in {0, 1, -signal.SIGKILL} or any(words in said for words in _NEVER):
            self.verdict.wrong.append(f"a run elsewhere: status {status}: {said[-1500:]}")
        elif any(words in said for words in _FULL) and not any(e in environment["FAULTY"] for e in _NO_SPACE):
            self.verdict.wrong.append(f"a run elsewhere: {said[-1500:]}")
        return f"status {status} {said[-500:]}"

    def _live(self) -> None:
        actions: list[Callable[[], Any]] = [
            self.status, self.report, self.load, self.previous, self.export, self.compare, self.prune, self.verify,
        ]  # fmt: skip
        for action in self.chance.sample(actions, self.chance.choice([1, 2, 3])):
            self.attempt(action.__name__, action)
        if self.chance.random() < 0.3:
            self.attempt("run of the other cut", lambda: self.run(self.other))

    def attempt(self, name: str, action: Callable[[], Any]) -> str:
        """Do something; return the words of an error, empty if there was none."""
        try:
            with _limit(name):
                told = action()
        except PorticoError as error:
            text = str(error)
            self.verdict.named += 1
            self.verdict.told.append(f"{name}: {type(error).__name__}: {text}")
            if not text.strip() or any(words in text for words in self.never):
                self.verdict.wrong.append(f"{name}: {text}")
            return text or "error"
        except _Hangs:
            self.verdict.wrong.append(f"{name}: hangs")
            return "hangs"
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            near = [f for f in traceback.extract_tb(error.__traceback__) if "/portico/" in f.filename][-1:]
            place = "".join(f"{f.filename.rpartition('/portico/')[2]}:{f.lineno}" for f in near)
            self.verdict.wrong.append(f"{name}: {type(error).__name__}: {error} ({place}; {where.name})")
            return str(error)
        self.verdict.told.append(f"{name}: {told or 'ok'}")
        return ""

    def _last(self) -> None:
        """Make everything whole with the same command, or with ``portico repair`` before it."""
        error = self.attempt("run", lambda: self.run(self.cut))
        if error and "portico repair" in error:
            self.attempt("repair", self.repair)
            error = self.attempt("run again", lambda: self.run(self.cut))
        if error:
            self.verdict.told.append("it ends with an error")
            return
        self.verdict.ends = "equal"
        self.attempt("run once more", self.again)
        missing = [path for path in self.strangers if not list(self.folder.rglob(path.name))]
        if missing:
            self.verdict.wrong.append(f"files of the user's are gone: {missing}")

    def command(self, *arguments: str) -> str:
        """Run a command as a user does."""
        result = CliRunner().invoke(cli, list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if result.exit_code and any(words in result.output for words in self.never):
            raise RuntimeError(result.output)
        if result.exit_code:
            raise PorticoError(result.output)
        return ""

    def status(self) -> str:
        return self.command("status", str(self.folder))

    def report(self) -> str:
        return self.command("report", str(self.folder))

    def prune(self) -> str:
        return self.command("prune", str(self.folder), "--dry-run")

    def verify(self) -> str:
        return self.command("verify", str(self.folder))

    def repair(self) -> str:
        return self.command("repair", str(self.folder))

    def export(self) -> str:
        return self.command("export", str(self.folder), "skim", "-o", str(self.folder.parent / "parquet"))

    def load(self) -> str:
        run = portico.load(self.folder)
        return self._equals(run, self.cut)

    def previous(self) -> str:
        run = portico.load(f"{self.folder}@previous")
        return self._equals(run, self.other)

    def compare(self) -> str:
        from portico.compare import compare

        found = compare(self.folder, self.bench.place / f"quiet{self.cut}")
        if not found.identical and not found.gaps and not self.in_killed:
            self.verdict.wrong.append(f"compare: {found.verdict}")
        return found.verdict

    def _equals(self, run: portico.Run, cut: int) -> str:
        if self.in_killed and set(run.states.values()) != {"done"}:
            return "was killed"
        if run.notes or set(run.states.values()) != {"done"} or len(run.states) < 4:
            return f"notes {run.notes} states {run.states}"
        try:
            found = everything(run)
        except KeyError as error:
            return f"KeyError {error}"
        either = [self.bench.expected[each] for each in CUTS] if self.in_killed else [self.bench.expected[cut]]
        if found not in either:
            odd = [name for name in found.keys() | self.bench.expected[cut].keys()
                   if found.get(name) != self.bench.expected[cut].get(name)]  # fmt: skip
            self.verdict.wrong.append(f"reading: silently wrong: {odd}")
        return ""

    def run(self, cut: int) -> str:
        reporter = Remember()
        run = self.bench.run(self.folder, cut, reporter)
        self._whole(run, cut)
        return f"ran {reporter.ran}" + "".join(f"\n    warned: {text}" for text in reporter.warnings)

    def again(self) -> str:
        reporter = Remember()
        run = self.bench.run(self.folder, self.cut, reporter)
        self._whole(run, self.cut)
        if any(reporter.ran.values()):
            self.verdict.wrong.append(f"ran again what is done: {reporter.ran}")
        return ""

    def _whole(self, run: portico.Run, cut: int) -> None:
        self._equals(run, cut)
        if run.notes or run.partial:
            self.verdict.wrong.append(f"a whole run has notes: {run.notes}")
        self.verdict.wrong += files_agree(run, self.bench.expected[cut])


def main() -> int:
    """Run storms, print those that found something, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", choices=[*sorted(FAULTS), []])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--weather", choices=sorted({*_WEATHERS}))
    parser.add_argument("-v", action="store_true")
    chosen = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="portico-storm-"))
    executor = LocalExecutor(1)
    counts: Counter[str] = Counter()
    try:
        bench = Bench(place, executor)
        for seed in range(chosen.first, chosen.first + chosen.count):
            verdict = storm(bench, seed, tuple(chosen.faults), chosen.keep, chosen.weather)
            counts["storms"] += 1
            counts["faults"] += verdict.faults
            counts["errors"] += verdict.named
            counts["hung"] += any("hangs" in text for text in verdict.wrong)
            counts["wrong"] += bool(verdict.wrong)
            counts[f"ended {verdict.ends}"] += not verdict.wrong
            if verdict.wrong or chosen.v:
                sys.stdout.write(f"{verdict}\n")
                sys.stdout.flush()
    finally:
        executor.close()
        if not chosen.keep:
            with suppress(OSError):
                shutil.rmtree(place)
    sys.stdout.write(f"{dict(counts)} {place if chosen.keep else ''}\n")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
