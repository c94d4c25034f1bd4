"""The plan of a step: its input cut into chunks with keys, and the chunks that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico import root
from portico._version import __version__
from portico.analysis.analysis import DATASET, POINTS, Analysis, StepEntry
from portico.analysis.chunks import Chunk, ChunkSize, plan, plan_generated
from portico.analysis.dataset import Sample
from portico.config import not_plain
from portico.environment.bundle import Bundle, collect, key_of, kind_of
from portico.errors import ConfigError, InputError, ProductError, RunFolderError, nearest
from portico.files import TreeSummary, raise_errors
from portico.files.digest import digest_of
from portico.files.kept import find
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Ledger, Lost, Planned
from portico.runfolder.step_files import StepFiles
from portico.workflow.input_identity import copies_between, identities, keys_of, refuse_copies, summaries_of

__all__ = ["Arguments", "Plan", "arguments_of", "bad_trees", "bundle_of", "input_of", "missing", "over_trees",
           "plan_step", "reduced", "sample_fields", "summary_file", "tree_read", "unblinded"]  # fmt: skip

_UNBLIND = "unblind"  # the option of steps that look at data only then
_GENERATED_CHUNK = ChunkSize(entries=10_000)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a step is to run over.

    Parameters
    ----------
    chunks : mapping of str to list of Planned
        The chunks of each sample, in order.
    files : mapping of str to mapping of str to TreeSummary
        What is known about the input files of each sample.
    samples : mapping of str to Sample
        Each sample as the step sees it.
    lost : tuple of Lost
        Files that could not be planned, of a run that may be partial.
    warnings : tuple of str
        What is suspicious about the input.
    points : mapping of str to tuple of JSON values
        Of a step over points: those of each chunk, by key.
    sources : mapping of str to str
        What identifies the content of each input file, without those of which that is not certain.
    """

    chunks: Mapping[str, list[Planned]]
    files: Mapping[str, Mapping[str, TreeSummary]]
    samples: Mapping[str, Sample]
    lost: tuple[Lost, ...] = ()
    warnings: tuple[str, ...] = ()
    points: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def by_key(self) -> dict[str, Planned]:
        """The chunks by their key."""
        return {planned.key: planned for chunks in self.chunks.values() for planned in chunks}


@dataclass(frozen=True, slots=True)
class Arguments:
    """The keyword arguments of a step.

    Parameters
    ----------
    given : mapping
        As the function gets them: of a file its path.
    keyed : mapping
        As they enter keys: of a file its content.
    """

    given: Mapping[str, Any]
    keyed: Mapping[str, Any]

    def only(self, names: Iterable[str]) -> Arguments:
        """Return the arguments of these names."""
        wanted = set(names)
        return Arguments(*({k: v for k, v in of.items() if k in wanted} for of in (self.given, self.keyed)))


def bundle_of(analysis: Analysis, step: StepEntry) -> Bundle:
    """Collect what a step needs, and check its options.

    Raises
    ------
    ConfigError
        If something is missing, or an option does not exist.
    """
    bundle, where = collect(step.function, analysis.folder), f"{analysis.path}: step '{step.name}'"
    options, functions = bundle.options, step.function
    if (bundle.needs.kind == "points") != (step.points is not None):
        raise ConfigError(
            f"{where}: {step.function} is a step over points; say which with 'points'"
            if step.points is None
            else f"{where}: has points, but {step.function} is not a step over points; decorate it with "
            "@portico.points()"
        )
    if step.lists_points:
        listing = collect(step.points or "", analysis.folder, "list")
        if listing.needs.kind != "list":
            raise ConfigError(f"{where}: points: {step.points} is a step; the function of points has no decorator")
        options += listing.options
        functions += f" or {step.points}"
    unknown = [option for option in (*step.options, *step.files) if option not in options]
    if unknown:
        raise ConfigError(f"{where}: {functions} has no option '{unknown[0]}'; {nearest(unknown[0], options)}")
    if odd := [f"{option}: {words}" for option, value in step.options.items() if (words := not_plain(value))]:
        raise ConfigError(f"{where}: options: {odd[0]}")
    _check_inputs(analysis, step, bundle.needs.kind)
    return bundle


def unblinded(analysis: Analysis) -> Analysis:
    """Return the analysis with data shown and fitted everywhere: steps with an option ``unblind`` get it as true.

    Raises
    ------
    ConfigError
        If nothing is blinded.
    """
    steps = [step.name for step in analysis.steps if _UNBLIND in collect(step.function, analysis.folder).options]
    if not steps and not analysis.blind:
        raise ConfigError(
            f"{analysis.path}: nothing to unblind: no step has an option '{_UNBLIND}', and there is no key 'blind'"
        )
    for name in steps:
        analysis = analysis.with_options(name, **{_UNBLIND: True})
    return analysis.model_copy(update={"blind": {}})


def _check_inputs(analysis: Analysis, step: StepEntry, kind: str) -> None:
    """Refuse files of steps that leave none, and trees of points."""
    where = f"{analysis.path}: step '{step.name}'"
    if kind == "frame" and analysis.samples_of(step) == (POINTS,):
        raise ConfigError(f"{where}: step '{step.input}' runs over points and leaves no events for it to read")
    for option, text in step.own_files.items():
        if not (analysis.folder / text).exists():
            raise ConfigError(f"{where}: files: {option}: no file {analysis.folder / text}")
    if not step.references:
        return
    entries = {entry.name: entry for entry in analysis.steps}
    for key, reference in step.references.items():
        name = reference.partition("/")[0]
        if kind_of(entries[name].function, analysis.folder) != "summary":
            summaries = [s.name for s in analysis.steps if kind_of(s.function, analysis.folder) == "summary"]
            raise ConfigError(
                f"{where}: {key}: '{name}' is not a summary step, and only these write files for other steps; "
                f"{nearest(name, summaries)}"
            )


def arguments_of(analysis: Analysis, step: StepEntry, folder: RunFolder, ledger: Ledger) -> Arguments:
    """Return the keyword arguments of a step, with the files of earlier steps and of the user that it names.

    Raises
    ------
    ConfigError
        If the earlier step wrote no such file.
    RunFolderError
        If the earlier step has not run, or its file is gone.
    InputError
        If the file is damaged.
    """
    paths, contents = {}, {}
    for option, reference in step.files.items():
        if option in step.own_files:
            path = (analysis.folder / reference).resolve()
        else:
            path = summary_file(f"{analysis.path}: step '{step.name}': files: {option}", reference, folder, ledger)
        paths[option], contents[option] = str(path), digest_of(path)
    return Arguments({**step.options, **paths}, {**step.options, **contents})


def summary_file(where: str, reference: str, folder: RunFolder, ledger: Ledger) -> Path:
    """Return the path of ``STEP/FILE``, a file that a summary step left; ``where`` begins messages.

    Raises
    ------
    ConfigError
        If the step wrote no such file.
    RunFolderError
        If the step has not run, or its file is gone.
    """
    name, _, file = reference.partition("/")
    files = StepFiles(folder.path.resolve(), name, ledger)
    if not files.items():
        raise RunFolderError(f"{where}: step '{name}' has not run; run that first")
    kept = files.find(file)
    if kept is None:
        valid = [item["name"] for item in files.items()]
        raise ConfigError(f"{where}: step '{name}' wrote no file '{file}'; {nearest(file, valid)}")
    if kept.stamp is None:
        raise RunFolderError(f"{where}: {kept.path} is gone; run step '{name}' first")
    if kept.fault:
        raise InputError(f"{where}: {kept.path}: {kept.fault}")
    return Path(kept.path)


def plan_step(
    analysis: Analysis,
    step: StepEntry,
    bundle: Bundle,
    arguments: Arguments,
    ledger: Ledger,
    names: Iterable[str],
    allow_partial: bool = False,
) -> Plan:
    """Cut the input of a step into chunks and give each its key.

    Parameters
    ----------
    analysis, step, bundle, arguments
        What is to be run.
    ledger : Ledger
        Knows what earlier steps wrote.
    names : iterable of str
        The samples to plan for; those that the step does not run on are left out.
    allow_partial : bool
        Plan without files that cannot be opened, and note them as lost.

    Raises
    ------
    ConfigError, InputError, ProductError, RunFolderError
        If the input is wrong, damaged, or not there yet.
    """
    planned: dict[str, list[Planned]] = {}
    files: dict[str, dict[str, TreeSummary]] = {}
    samples: dict[str, Sample] = {}
    sources: dict[str, str] = {}
    lost: list[Lost] = []
    for name in names:
        sample = input_of(analysis, step, analysis.dataset[name], ledger)
        if sample is None:
            continue
        found = summaries_of(sample)
        lost += _unopened(sample, found) if allow_partial else ()
        summaries = [s for s in found if isinstance(s, TreeSummary)] if allow_partial else raise_errors(found)
        refuse_copies(name, summaries)
        chunks = _cut(analysis, step, sample, summaries)
        code = key_of(__version__, root.version(), bundle.code, arguments.keyed, sample_fields(sample))
        written = [] if step.input == DATASET else ledger.outputs(step.input, name)
        identity = identities(sample, found, written)
        keys = keys_of(code, identity, chunks)
        planned[name] = [Planned(name, i, key, c) for i, (key, c) in enumerate(zip(keys, chunks, strict=True))]
        files[name] = {summary.file: summary for summary in summaries}
        sources |= {s.file: f"{identity[s.file]}:{s.version}" for s in summaries if s.version}
        samples[name] = sample
    shared = copies_between({name: of.values() for name, of in files.items()}) if step.input == DATASET else []
    return Plan(planned, files, samples, tuple(lost), tuple(shared), sources=sources)


def _unopened(sample: Sample, found: Sequence[TreeSummary | InputError]) -> Iterator[Lost]:
    """Yield the files of a sample that cannot be opened; each counts for as many entries as the others on average."""
    entries = [summary.entries for summary in found if isinstance(summary, TreeSummary)]
    each = round(sum(entries) / len(entries)) if entries else 0
    for file, error in zip(sample.files, found, strict=True):
        if isinstance(error, InputError):
            yield Lost(sample.name, "", file, each, "input", str(error).removeprefix(f"{file}: "))


def missing(step: StepEntry, planned: Plan, ledger: Ledger) -> tuple[list[Planned], dict[str, str]]:
    """Return the chunks that are not done, and what is wrong with the files of chunks that were, by their keys."""
    done = ledger.done(step.name)
    lost = bad_trees(ledger, done)
    finished = done.keys() - lost.keys()
    return [chunk for chunks in planned.chunks.values() for chunk in chunks if chunk.key not in finished], lost


def bad_trees(ledger: Ledger, done: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """Verify the trees that chunks wrote.

    Parameters
    ----------
    ledger : Ledger
        Remembers which were verified when, if it can be written to.
    done : mapping of str to sequence of mapping
        The files that each chunk wrote, by its key.

    Returns
    -------
    dict of str to str
        What is wrong with a file of a chunk, by the chunk's key.
    """
    items = [(key, output) for key, outputs in done.items() for output in outputs]
    found = find([item for _, item in items], ledger.verified())
    computed = zip(items, found, strict=True)
    ledger.set_verified((x["path"], kept.stamp or "", kept.computed) for (_, x), kept in computed if kept.computed)
    return {key: f"{kept.path}: {kept.fault}" for (key, _), kept in zip(items, found, strict=True) if kept.fault}


def sample_fields(sample: Sample) -> dict[str, Any]:
    """Return what describes a sample to a step: everything but where its files lie."""
    return sample.model_dump(exclude={"files"})


def reduced(sample: Sample, completeness: float) -> Sample:
    """Return what a sample is worth when only a fraction of its events was kept, as in a partial run.

    The luminosity of data and the processed events of simulation shrink in proportion to the entries, which takes
    events to be spread evenly over files.
    """
    if completeness == 1.0:
        return sample
    worth = "luminosity" if sample.kind == "data" else "processed_events"
    value = getattr(sample, worth)
    return sample.model_copy(
        update={"completeness": sample.completeness * completeness} | ({worth: value * completeness} if value else {})
    )


def _cut(analysis: Analysis, step: StepEntry, sample: Sample, summaries: Sequence[TreeSummary]) -> list[Chunk]:
    if sample.entries is not None:
        size = analysis.chunk_size(step)
        if size.entries is None and step.chunk is not None:
            raise ConfigError(
                f"{analysis.path}: step '{step.name}', sample '{sample.name}': chunk '{step.chunk}': "
                "generated events have no size in bytes yet; give it in entries, for example '10000 entries'"
            )
        return list(plan_generated(sample.entries, size if size.entries is not None else _GENERATED_CHUNK))
    chunks = list(plan(summaries, analysis.chunk_size(step)))
    if not chunks:
        # An empty sample still gives its products, empty: one chunk without entries makes them.
        whole = next((summary for summary in summaries if summary.columns), None) or _schema(analysis, step, sample)
        chunks = [Chunk(whole.file, whole.uuid, whole.tree, 0, 0)]
    return chunks


def _schema(analysis: Analysis, step: StepEntry, sample: Sample) -> TreeSummary:
    """Return a tree of another sample, for the columns of a sample that has none; samples of the same kind first."""
    samples = analysis.dataset.samples.values() if step.input == DATASET else ()
    others = [other for other in samples if other.name != sample.name and other.entries is None]
    for other in sorted(others, key=lambda other: other.kind != sample.kind):
        for summary in summaries_of(other):
            if isinstance(summary, TreeSummary) and summary.columns:
                return summary
    raise InputError(
        f"step '{step.name}', sample '{sample.name}': none of its files contains a tree '{sample.tree}' with columns"
    )


def input_of(analysis: Analysis, step: StepEntry, sample: Sample, ledger: Ledger) -> Sample | None:
    """Return the sample with the files that the step reads; None if the earlier step left it out.

    Raises
    ------
    RunFolderError, InputError, ProductError, ConfigError
        If the earlier step has not run, its trees are damaged, or it is not clear which of them is read.
    """
    if step.input == DATASET:
        return sample
    sample = reduced(sample, ledger.completeness(step.input, sample.name))
    written = ledger.outputs(step.input, sample.name)
    outputs = [output for chunk in written for output in chunk]
    if sample.name not in ledger.result_keys(step.input):
        earlier = next(entry for entry in analysis.steps if entry.name == step.input)
        if earlier.samples and sample.name not in earlier.samples:
            return None
        raise RunFolderError(
            f"step '{step.name}' needs the output of '{step.input}' for sample '{sample.name}'; run that first"
        )
    tree = tree_read(step, {output["tree"] for output in outputs})
    if bad := bad_trees(ledger, {str(number): of_chunk for number, of_chunk in enumerate(written)}):
        raise InputError(f"step '{step.name}', sample '{sample.name}': {next(iter(bad.values()))}")
    files = tuple(output["path"] for output in outputs if output["tree"] == tree)
    return over_trees(sample, tree, files)


def over_trees(sample: Sample, tree: str, files: tuple[str, ...]) -> Sample:
    """Return a sample with the trees of an earlier step as its files."""
    return sample.model_copy(update={"files": files, "replicas": {}, "checksums": {}, "tree": tree, "entries": None})


def tree_read(step: StepEntry, found: Iterable[str]) -> str:
    """Return which of the trees of the earlier step a step reads.

    Raises
    ------
    ProductError
        If there is none.
    ConfigError
        If the step names another, or none of several.
    """
    trees = sorted(found)
    if not trees:
        raise ProductError(f"step '{step.name}' reads the trees of step '{step.input}', which returned no Snapshot")
    tree = step.tree or trees[0]
    if tree not in trees or (step.tree is None and len(trees) > 1):
        raise ConfigError(
            f"step '{step.name}': choose which tree of step '{step.input}' it reads with 'tree'; {nearest(tree, trees)}"
        )
    return tree
