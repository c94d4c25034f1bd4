"""The choice among the replicas of a dataset's files, by rules of the analysis and of the site where it runs."""

from __future__ import annotations

from collections.abc import Sequence

from portico.analysis.analysis import Analysis
from portico.analysis.dataset import Sample
from portico.errors import ConfigError
from portico.files.placement import Placement, place, site_of
from portico.shown import without_secrets

__all__ = ["placed"]


def placed(analysis: Analysis, site: Placement | None = None) -> Analysis:
    """Return an analysis whose samples name the replicas that are read; which file is meant stays the same.

    Parameters
    ----------
    analysis : Analysis
        Its key ``storage`` has rules.
    site : Placement, optional
        The rules of the site where it runs, which count more for the order.

    Raises
    ------
    ConfigError
        If no replica of a file is left.
    """
    rules = [rule for rule in (site, analysis.storage) if rule is not None and rule.model_fields_set]
    if not rules:
        return analysis
    samples = {name: _of_sample(sample, rules) for name, sample in analysis.dataset.samples.items()}
    return analysis.model_copy(update={"dataset": analysis.dataset.model_copy(update={"samples": samples})})


def _of_sample(sample: Sample, rules: Sequence[Placement]) -> Sample:
    found: dict[str, tuple[str, ...]] = {}
    for file in sample.files:
        every = (file, *sample.replicas.get(file, ()))
        left = place(every, rules)
        if not left:
            sites = ", ".join(dict.fromkeys(map(site_of, every)))
            raise ConfigError(
                f"sample '{sample.name}': {without_secrets(file)}: no replica may be read: all are at storage sites "
                f"that are blocked or not allowed: {sites}; change 'storage: block' or 'allow' in analysis.yaml or in "
                "the file of the site, or name another replica in the dataset"
            )
        if left != every:
            found[file] = left
    return sample.model_copy(update={"placed": found})
