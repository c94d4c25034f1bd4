"""The listing of `portico limit --list`, and errors that name the file of a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.cli.base import echo, show_json
from portico.errors import FitError, InputError

if TYPE_CHECKING:
    from portico.stats.published import Listing

__all__ = ["naming", "show_listing"]

_CHANNELS: Final = 6  # in a row of the table


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file of a model before errors of its fits and limits that do not name it."""
    try:
        yield
    except (FitError, InputError) as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error


def show_listing(listing: Listing, path: Path, *, as_json: bool) -> None:
    """Print what an archive holds, as tables or as JSON.

    Parameters
    ----------
    listing : Listing
    path : Path
        The archive, for the commands that are shown.
    as_json : bool
    """
    if as_json:
        show_json(listing.to_json())
        return
    from rich.text import Text

    from portico.cli.tables import new_console, new_table

    out = new_console()
    if listing.models:
        table = new_table("workspace", "format", "measurement", "of interest", "signal", "channels",
                          left=("workspace", "format", "measurement", "of interest", "signal", "channels"))  # fmt: skip
        for model in listing.models:
            channels = ", ".join(model.channels[:_CHANNELS]) + (", ..." if len(model.channels) > _CHANNELS else "")
            for at, (name, poi) in enumerate(model.measurements or (("", ""),)):
                first = [model.name, model.format] if at == 0 else ["", ""]
                signal = "" if at else "yes" if model.signal else "by a patch"
                shown = f"{len(model.channels)}: {channels}" if at == 0 else ""
                table.add_row(*(Text(word) for word in [*first, name, poi, signal, shown]))
        out.print(table)
    for patches in listing.patch_sets:
        out.print()
        of = f"of {patches.workspace}" if patches.workspace else "of a workspace that is not here"
        out.print(Text.assemble((patches.name, "bold"), f": {len(patches.patches)} patches {of}"), soft_wrap=True)
        out.print()
        table = new_table("patch", *patches.labels, left=("patch",))
        for name, values in patches.patches:
            cells = [*map(str, values), *[""] * len(patches.labels)][: len(patches.labels)]
            table.add_row(*(Text(word) for word in [name, *cells]))
        out.print(table)
    if listing.patches:
        out.print()
        out.print(Text(f"{len(listing.patches)} JSON Patches", "bold"))
        for name in listing.patches:
            echo(f"  {name}")
    for name, what in listing.others:
        echo(f"not read: {name}: {what}")
    _commands(listing, path)


def _commands(listing: Listing, path: Path) -> None:
    """Print a command that takes one of them."""
    names = [(of.workspace, name) for of in listing.patch_sets for name, _ in of.patches]
    names += [("", name) for name in listing.patches]
    several = len(listing.models) > 1
    if listing.models and (names or several):
        of, name = names[0] if names else ("", "")
        workspace = f" --workspace {of or listing.models[0].name}" if several else ""
        echo(f"\nfor example: portico limit {path}{workspace}{f' --patch {name}' if name else ''}")
