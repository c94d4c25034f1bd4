"""Units of a comparison: the products of one sample of one step, paired between the two sides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from portico.compare.mapping import Mapping, TreeEntry, expand
from portico.compare.sides import FileSide, RunSide, StepRecord
from portico.compare.suggest import suggest
from portico.errors import ConfigError, nearest
from portico.results.kinds import KINDS
from portico.results.product import Product, ProductKind

__all__ = ["Pair", "Side", "Unit", "units"]

Side = RunSide | FileSide
Pair = tuple[Product | None, Product | None]


@dataclass(slots=True)
class Unit:
    """One sample of one step.

    Parameters
    ----------
    step, sample : str
        Names; the sample of a summary step is empty.
    load : callable
        Returns the products of both sides by our names; None if a side does not have one.
    read : (int, int), optional
        Entries that each side read.
    absent : {"", "first", "second"}
        The side that has nothing of this unit.
    what : str
        What is absent: a sample, or an entire step.
    summary : bool
        Whether it is a summary step.
    rules : mapping of str to TreeEntry
        Entries of the mapping for trees.
    shared : bool
        Whether only columns of both sides are compared, as with another program's tree.
    swap : bool
        Whether the second side is ours, whose names are used, and the first the other program's.
    """

    step: str
    sample: str
    load: Callable[[], dict[str, Pair]] = dict
    read: tuple[int, int] | None = None
    absent: str = ""
    what: str = ""
    summary: bool = False
    rules: dict[str, TreeEntry] = field(default_factory=dict)
    shared: bool = False
    swap: bool = False


def units(
    first: Side, second: Side, mapping: Mapping, steps: Collection[str], samples: Collection[str], notes: list[str]
) -> Iterator[Unit]:
    """Return the units to compare.

    Parameters
    ----------
    first, second
        The two sides.
    mapping : Mapping
        If it names histograms or trees, only these are compared.
    steps, samples : collection of str
        Compare only these; all if empty.
    notes : list of str
        Remarks about what is not compared are appended.

    Raises
    ------
    ConfigError
        If a step, sample or product does not exist, or if the two sides have nothing in common.
    """
    _check_names(first, second, steps, samples)
    if mapping.names_products:
        yield from _mapped(first, second, mapping, steps, samples)
    elif isinstance(first, RunSide) and isinstance(second, RunSide):
        yield from _runs(first, second, steps, samples, notes)
    elif isinstance(first, RunSide) and isinstance(second, FileSide):
        yield from _run_and_file(first, second, steps, samples, notes, swap=False)
    elif isinstance(first, FileSide) and isinstance(second, RunSide):
        yield from _run_and_file(second, first, steps, samples, notes, swap=True)
    elif isinstance(first, FileSide) and isinstance(second, FileSide):
        yield from _files(first, second, samples)
    if not mapping.names_products:
        notes += [note for side in (first, second) if isinstance(side, FileSide) for note in side.left_out()]


def _check_names(first: Side, second: Side, steps: Collection[str], samples: Collection[str]) -> None:
    runs = [side for side in (first, second) if isinstance(side, RunSide)]
    known = {name for run in runs for name in run.steps}
    for step in steps:
        if step not in known:
            raise ConfigError(f"no step '{step}' in {first.label} or {second.label}; {nearest(step, known)}")
    there = {sample for run in runs for step in run.steps.values() for sample in step.samples}
    if not runs:
        there = {sample for side in (first, second) if isinstance(side, FileSide) for sample in side.samples()}
    for sample in samples:
        if sample not in there:
            raise ConfigError(f"no sample '{sample}' in {first.label} or {second.label}; {nearest(sample, there)}")


def _runs(
    first: RunSide, second: RunSide, steps: Collection[str], samples: Collection[str], notes: list[str]
) -> Iterator[Unit]:
    if not any(step in second.steps for step in first.steps):
        ours, theirs = (", ".join(side.steps) or "none" for side in (first, second))
        raise ConfigError(
            f"{first.label} and {second.label} have no step in common: {ours} in the first, {theirs} in the second; "
            "compare runs of one analysis, or give the names on the other side with --mapping" + suggest(first, second)
        )
    for name in dict.fromkeys([*first.steps, *second.steps]):
        if steps and name not in steps:
            continue
        pair = first.steps.get(name), second.steps.get(name)
        if pair[0] is None or pair[1] is None:
            yield Unit(name, "", absent="first" if pair[0] is None else "second", what="steps")
        elif "summary" in (pair[0].kind, pair[1].kind):
            if samples:
                notes.append(f"step '{name}' was not compared, because its results are of all samples together")
            elif first.has_summary(name) or second.has_summary(name):
                there = first.has_summary(name), second.has_summary(name)
                absent = "" if all(there) else "second" if there[0] else "first"
                yield Unit(name, "", absent=absent, what="results of summary steps", summary=True)
        else:
            yield from _samples(first, second, pair[0], pair[1], samples)


def _samples(
    first: RunSide, second: RunSide, ours: StepRecord, theirs: StepRecord, samples: Collection[str]
) -> Iterator[Unit]:
    for sample in dict.fromkeys([*ours.samples, *theirs.samples]):
        if samples and sample not in samples:
            continue
        if sample in ours.samples and sample in theirs.samples:

            def load(sample: str = sample) -> dict[str, Pair]:
                return _side_by_side(first.products(ours.name, sample), second.products(ours.name, sample))

            yield Unit(ours.name, sample, load, read=(ours.read[sample], theirs.read[sample]))
        else:
            yield Unit(ours.name, sample, absent="first" if sample in theirs.samples else "second", what="samples")


def _side_by_side(first: dict[str, Product], second: dict[str, Product]) -> dict[str, Pair]:
    return {name: (first.get(name), second.get(name)) for name in dict.fromkeys([*first, *second])}


def _run_and_file(
    run: RunSide, file: FileSide, steps: Collection[str], samples: Collection[str], notes: list[str], *, swap: bool
) -> Iterator[Unit]:
    """Pair a run with a file that has the layout of ``results.root``: a folder for each sample."""
    there = file.samples()
    fitting = [
        step.name
        for step in run.steps.values()
        if (not steps or step.name in steps)
        and any(name in there.get(sample, {}) for sample in step.samples for name in run.products(step.name, sample))
    ]
    if len(fitting) != 1:
        names = ", ".join(fitting) or "no step"
        advice = "choose one with --step" if fitting else "give the names on the other side with --mapping"
        text = "" if fitting else suggest(run, file)
        raise ConfigError(f"{file.label}: the names of its histograms match {names} of {run.label}; {advice}{text}")
    left_out = 0
    for sample in dict.fromkeys([*run.steps[fitting[0]].samples, *there]):
        if samples and sample not in samples:
            continue
        everything = run.products(fitting[0], sample)
        kinds = {name: KINDS[product.kind] for name, product in everything.items()}
        ours = {name: p for name, p in everything.items() if kinds[name].to_root or kinds[name].to_tree}
        left_out += len(everything) - len(ours)
        theirs = {name: file.product(path) for name, path in there.get(sample, {}).items()}
        if ours or theirs:
            pairs = _side_by_side(theirs, ours) if swap else _side_by_side(ours, theirs)
            yield Unit(fitting[0], sample, lambda pairs=pairs: pairs, shared=True, swap=swap)  # type: ignore[misc]
    if left_out:
        notes.append(f"{left_out:,} products were not compared: {file.label} has no counts, cutflows and trees")


def _files(first: FileSide, second: FileSide, samples: Collection[str]) -> Iterator[Unit]:
    ours, theirs = first.samples(), second.samples()
    common = [sample for sample in ours if ours[sample].keys() & theirs.get(sample, {}).keys()]
    if not common:
        raise ConfigError(
            f"{first.label} and {second.label} have no histogram with the same path; "
            "give the names on the other side with --mapping" + suggest(first, second)
        )
    for sample in dict.fromkeys([*ours, *theirs]):
        if not samples or sample in samples:
            sides = (first, ours), (second, theirs)
            a, b = ({n: side.product(p) for n, p in paths.get(sample, {}).items()} for side, paths in sides)
            yield Unit("", sample, lambda a=a, b=b: _side_by_side(a, b))  # type: ignore[misc]


def _mapped(
    first: Side, second: Side, mapping: Mapping, steps: Collection[str], samples: Collection[str]
) -> Iterator[Unit]:
    swap = isinstance(first, FileSide) and isinstance(second, RunSide)
    own, other = (second, first) if swap else (first, second)
    wanted: dict[tuple[str, str], dict[str, _Match]] = {}
    for match in _matches(own, other, mapping):
        step, sample, product = _parts(own, match.ours)
        if (not steps or step in steps) and (not samples or sample in samples):
            wanted.setdefault((step, sample), {})[product] = match
    for (step, sample), matches in wanted.items():

        def load(matches: dict[str, _Match] = matches) -> dict[str, Pair]:
            loaded = {}
            for product, match in matches.items():
                a = _get(own, match.ours)
                b = _get(other, match.theirs) if not match.files else _foreign_tree(match, mapping)
                loaded[product] = (b, a) if swap else (a, b)
            return loaded

        rules = {product: match.entry for product, match in matches.items() if match.entry is not None}
        yield Unit(step, sample, load, rules=rules, shared=True, swap=swap)


@dataclass(frozen=True, slots=True)
class _Match:
    """One of our products and its name on the other side, from the mapping."""

    ours: str
    theirs: str
    entry: TreeEntry | None = None
    files: tuple[str, ...] = ()


def _matches(own: Side, other: Side, mapping: Mapping) -> Iterator[_Match]:
    known, there = _addresses(own), _addresses(other)
    entries: list[tuple[str, str, TreeEntry | None]] = [
        *((ours, theirs, None) for ours, theirs in mapping.histograms.items()),
        *((entry.ours, entry.theirs, entry) for entry in mapping.trees),
    ]
    for pattern, theirs, entry in entries:
        found = expand(pattern, theirs, known)
        if not found:
            raise ConfigError(f"mapping: no '{pattern}' in {own.label}; {nearest(pattern, known)}")
        for address, name in found:
            texts = entry.files if entry is not None else ()
            if pattern == address and not texts and name not in there:
                raise ConfigError(f"mapping: no '{name}' in {other.label}; {nearest(name, there)}")
            files = tuple(file for text in texts for _, file in expand(pattern, text, [address]))
            yield _Match(address, name, entry, files)


def _addresses(side: Side) -> list[str]:
    if isinstance(side, RunSide):
        return [address for address, _ in side.addresses()]
    return [*side.file.histograms, *side.file.trees]


def _parts(side: Side, address: str) -> tuple[str, str, str]:
    if isinstance(side, FileSide):
        folder, _, name = address.rpartition("/")
        return "", folder, name
    step, sample, product = address.split("/", 2)
    return step, sample, product


def _get(side: Side, address: str) -> Product | None:
    if isinstance(side, RunSide):
        step, sample, product = address.split("/", 2)
        return side.products(step, sample).get(product) if step in side.steps else None
    return side.product(address) if address in side.file.classes else None


def _foreign_tree(match: _Match, mapping: Mapping) -> Product:
    files: list[str] = []
    for pattern in match.files:
        if "://" in pattern:
            files.append(pattern)
            continue
        where = (mapping.folder / pattern).absolute()  # the pattern itself, if it is absolute
        paths = sorted(str(path) for path in Path(where.anchor).glob(str(where.relative_to(where.anchor))))
        if not paths:
            raise ConfigError(f"mapping: '{match.ours}': no file '{pattern}' in {mapping.folder}")
        files += paths
    return Product(ProductKind.TREE, {"tree": match.theirs}, {}, tuple({"path": path} for path in files))
