"""Checks of container images: that those of notebook and workers hold the same, and what their list pins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from portico.doctor.facts import Facts
from portico.doctor.finding import Finding, grouped, named, ok, warning
from portico.environment.pins import LIST

__all__ = ["fix_of", "images"]

_SHOWN = 5
_WHY = "results of steps can differ, and Dask is tested only with client, scheduler and workers of one version"


def images(facts: Facts) -> Iterator[Finding]:
    """Compare the images of this process and of the workers with their list of versions, and with each other."""
    everywhere = {"this process": facts.here, **facts.workers}
    made = {name: one["pins"] for name, one in everywhere.items() if one.get("pins")}
    if not made:
        return
    clean = True
    for differences, where in grouped({name: _wrong(one) for name, one in made.items()}).items():
        if differences:
            clean = False
            image = _image(everywhere[where[0]])
            what = f"{image} on {named(where)} is not what its {LIST} pins: {_some(differences)}"
            yield warning("images", what, _WHY, f"change {LIST}, and build the image again")
    here = facts.here.get("pins")
    for digest, where in grouped({name: str(one["digest"]) for name, one in made.items()}).items():
        other = made[where[0]]
        if here and digest != here["digest"]:
            clean = False
            what = (
                f"{_image(everywhere[where[0]])} on {named(where)} and {_image(facts.here)} here are built from "
                f"different lists: {_some(_between(here['pinned'], other['pinned'])) or 'only comments differ'}"
            )
            yield warning("images", what, _WHY, fix_of(facts, where, ""))
    if clean:
        count = len(next(iter(made.values()))["pinned"])
        yield ok("images", f"{count} packages as pinned by {LIST} in the image of {named(sorted(made))}")


def fix_of(facts: Facts, where: Sequence[str], package: str) -> str:
    """Return what to change so that some workers have the versions of this process, and in which file.

    Parameters
    ----------
    facts : Facts
        With the file of the site, if there is one.
    where : sequence of str
        The workers, or ``the scheduler``.
    package : str
        What is to be installed, such as ``dask==2026.8.0``; empty if images as a whole differ.
    """
    theirs = {str(facts.workers[name]["image"]) for name in where if name in facts.workers} - {""}
    ours = str(facts.here["image"])
    if not theirs and not ours:
        return f"install the same everywhere: pip install '{package}'" if package else "use one image everywhere"
    key = f"'image' in {facts.site_file}" if facts.site_file else "the image of the workers"
    if not theirs:
        return f"run the workers in this image: set {key} to {ours}"
    other = f"{', '.join(sorted(theirs))} ({key})"
    if not ours:
        listed = package or "the versions of here"
        return f"start this process in {other}, or put {listed} into {LIST} and build it again"
    if theirs == {ours}:
        return f"{ours} has changed since these workers started: start them again, or remove old copies of it"
    return f"use one image: change {other}, or that of this notebook, {ours} (singleuser.image of the hub)"


def _wrong(one: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{name} {version}, pinned {one['pinned'][name]}" for name, version in sorted(one["wrong"].items()))


def _between(here: Mapping[str, str], there: Mapping[str, str]) -> tuple[str, ...]:
    names = sorted(here.keys() | there.keys())
    pairs = ((name, there.get(name, "(none)"), here.get(name, "(none)")) for name in names)
    return tuple(f"{name} {theirs}, here {ours}" for name, theirs, ours in pairs if theirs != ours)


def _some(words: Sequence[str]) -> str:
    more = f"; and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return "; ".join(words[:_SHOWN]) + more


def _image(one: Mapping[str, Any]) -> str:
    return f"image {one['image']}" if one["image"] else "the image"
