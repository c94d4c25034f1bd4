"""Recipes: digests of the code, options and samples that results are made with, known before anything is planned.

The key of a result also has the content of its input. The recipe tells whether a result still belongs to the analysis
when its step does not run, as with ``--sample`` or ``--step``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from portico import root
from portico._version import __version__
from portico.analysis.analysis import DATASET, POINTS, Analysis, StepEntry
from portico.environment.bundle import collect, key_of
from portico.errors import PorticoError
from portico.files.digest import digest_of
from portico.runfolder.ledger import Ledger
from portico.runfolder.version import SUMMARY
from portico.workflow.plan import bundle_of, sample_fields

__all__ = ["inputs_of", "mixed", "recipes_of"]


def recipes_of(analysis: Analysis) -> dict[tuple[str, str], str]:
    """Return the recipe of each result of an analysis, by step and sample; ``*`` is the result of a summary step.

    The part before the colon is common to all samples of a step, and has that of the earlier steps in it.
    """
    common: dict[str, str] = {}
    ran: dict[str, Sequence[str]] = {}
    found: dict[tuple[str, str], str] = {}
    samples = {
        name: key_of(sample_fields(sample), list(sample.files)) for name, sample in analysis.dataset.samples.items()
    }
    for step in analysis.steps:
        earlier = [common[name] for name in step.after]
        there = ran.get(step.input)  # an earlier step may leave samples out
        names = [name for name in analysis.samples_of(step) if there is None or name in there]
        ran[step.name] = names
        try:
            bundle = bundle_of(analysis, step)
            listing = collect(step.points or "", analysis.folder, "list").code if step.lists_points else ""
        except PorticoError:  # told when the step itself runs
            common[step.name] = ""
            continue
        size = str(step.chunk or analysis.chunk)
        own = {option: digest_of((analysis.folder / text).resolve()) for option, text in step.own_files.items()}
        entry = [step.function, step.tree, size]
        common[step.name] = key_of(__version__, root.version(), bundle.code, listing, entry, earlier, step.options, own,
                                    step.references)  # fmt: skip
        if bundle.needs.kind == "summary":
            every = key_of([samples.get(name, "") for name in names])
            found[step.name, SUMMARY] = f"{common[step.name]}:{every}"
        else:
            found |= {(step.name, name): f"{common[step.name]}:{samples.get(name, '')}" for name in names}
    return found


def inputs_of(step: StepEntry, ledger: Ledger, samples: Sequence[str] = ()) -> list[tuple[str, str, str]]:
    """Return step, sample and key of the current results that a step reads.

    Parameters
    ----------
    step : StepEntry
        The step.
    ledger : Ledger
        Of the run.
    samples : sequence of str
        The samples that it reads of the step before.
    """
    keys = ledger.result_keys(step.input) if step.input not in {DATASET, POINTS} else {}
    files = dict.fromkeys(reference.partition("/")[0] for reference in step.references.values())
    summaries = [(name, SUMMARY, ledger.files_key(name) or "") for name in files]
    return [*((step.input, name, keys[name]) for name in samples if name in keys), *summaries]


def mixed(step: str, samples: Sequence[str], ledger: Ledger) -> list[str]:
    """Return the samples of a step whose results must not be used with those of the others.

    Returns
    -------
    list of str
        Those that were made with other options, if others were not, or were made with others again; else nothing.
    """
    made: Mapping[str, str] = ledger.made(step)
    stale = {sample for other, sample in ledger.stale() if other == step}
    ways = {(made.get(name, "").partition(":")[0], name in stale) for name in samples}
    return [name for name in samples if name in stale] if len(ways) > 1 else []
