"""Friends stored with a tree: finding their files, and checking them against the tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from portico.errors import InputError
from portico.files.remote import is_remote
from portico.files.summary import Friend, TreeSummary

__all__ = ["friends_of", "with_friends"]

_Found = TreeSummary | InputError
_Look = Callable[[Sequence[str], str], list[_Found]]


def with_friends(found: Sequence[_Found], look: _Look) -> list[_Found]:
    """Return summaries with those of their friends, or an error in place of one whose friend cannot be used.

    Parameters
    ----------
    found : sequence of TreeSummary or InputError
        What was found of each file.
    look : callable
        Summarises a tree in each of some files; takes them and its name.
    """
    return _complete(found, look, frozenset())


def friends_of(summary: TreeSummary) -> list[TreeSummary]:
    """Return the summaries of a tree's friends, of their friends, and so on."""
    found = [friend.found for friend in summary.friends if friend.found is not None]
    return [each for friend in found for each in (friend, *friends_of(friend))]


def _complete(found: Sequence[_Found], look: _Look, above: frozenset[tuple[str, str]]) -> list[_Found]:
    """Look for all friends of a tree at once; ``above`` are the trees whose friends these are, in a circle perhaps."""
    wanted: dict[str, dict[str, None]] = {}
    places: dict[tuple[str, Friend], str] = {}
    result = list(found)
    for number, summary in enumerate(found):
        if isinstance(summary, InputError):
            continue
        try:
            for friend in summary.friends:
                place = places[summary.file, friend] = _place(summary, friend, nested=bool(above))
                if (place, friend.tree) not in above:
                    wanted.setdefault(friend.tree, {})[place] = None
        except InputError as error:
            result[number] = error
    inside = above | {(s.file, s.tree) for s in found if isinstance(s, TreeSummary)}
    friends: dict[tuple[str, str], _Found] = {}
    for tree, files in wanted.items():
        some = _complete(look(list(files), tree), look, inside)
        friends |= {(file, tree): one for file, one in zip(files, some, strict=True)}
    for number, summary in enumerate(result):
        if isinstance(summary, TreeSummary) and summary.friends:
            result[number] = _joined(summary, places, friends)
    return result


def _joined(
    summary: TreeSummary, places: dict[tuple[str, Friend], str], found: dict[tuple[str, str], _Found]
) -> _Found:
    friends = []
    for friend in summary.friends:
        place = places[summary.file, friend]
        one = found.get((place, friend.tree))
        where = f"{summary.file}: its friend '{friend.name}'"
        if isinstance(one, InputError):
            hint = "; of a TChain as friend ROOT stores no files: store a tree in one file as friend instead"
            return InputError(f"{where} cannot be used: {one}{'' if friend.file else hint}")
        if one is not None and one.entries < summary.entries and not one.indexed:
            return InputError(
                f"{where}, the tree '{friend.tree}' in {one.file}, has {one.entries} entries, fewer than the "
                f"{summary.entries} of '{summary.tree}', and no index; make the friend for all entries, or store the "
                "tree without it"
            )
        friends.append(replace(friend, file=place, found=one))
    return replace(summary, friends=tuple(friends))


def _place(summary: TreeSummary, friend: Friend, nested: bool) -> str:
    """Return the file of a friend.

    ROOT takes a relative path from the folder of the process, which differs from worker to worker. Here it is taken
    from the folder of the tree's file, those above it, or the folder of this process; only one may have the file.
    """
    if not friend.file:
        return summary.file
    if is_remote(friend.file) or friend.file.startswith("/"):
        return friend.file
    if is_remote(summary.file):
        return f"{summary.file.rpartition('/')[0]}/{friend.file}"
    where = f"{summary.file}: its friend '{friend.name}', the tree '{friend.tree}' in {friend.file},"
    if nested:
        raise InputError(f"{where} is that of a friend, which ROOT finds only by its whole path; store it with that")
    found = list(_existing((*Path(summary.file).parents, Path.cwd()), friend.file))
    if not found:
        raise InputError(f"{where} is missing: there is no {Path(summary.file).parent / friend.file}; put it there")
    if len(found) > 1:
        raise InputError(f"{where} may be {found[0]} or {found[1]}; remove one, or store the tree with its path")
    return found[0]


def _existing(folders: Iterable[Path], name: str) -> Iterable[str]:
    """Yield the files of a relative name in some folders, each once."""
    seen: set[tuple[int, int]] = set()
    for folder in folders:
        path = os.path.normpath(folder / name)
        try:
            status = os.stat(path)  # noqa: PTH116 (a path as text)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            yield path
