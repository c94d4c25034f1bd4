"""C++ of selections in a process: out of kept libraries, or compiled by cling."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from portico import root
from portico.environment import ahead
from portico.errors import StepError
from portico.selection.calls import HEADER

__all__ = ["Piece", "compile_pieces", "piece", "take_libraries"]

_compiled: set[str] = set()
_awaited: dict[str, ahead.Unit] = {}  # by namespace, what cling has compiled and a library is being made of


@dataclass(frozen=True, slots=True)
class Piece:
    """C++ in a namespace of its own, whose name is a digest of the content.

    Parameters
    ----------
    namespace : str
        Its name.
    parts : tuple of str
        The C++, each part with the namespace around it.
    header : str
        That of portico's headers which it uses.
    after : str
        That of portico's headers whose library has what it shares with other code, as in `portico.environment.ahead`.
    prepare : callable
        Prepares cling for this header.
    """

    namespace: str
    parts: tuple[str, ...]
    header: str
    after: str = HEADER
    prepare: Callable[[], object] = lambda: None


def piece(header: str, text: str, less_optimised: str = "") -> Piece:
    """Return C++ in a namespace, of which cling does not optimise the second part fully."""
    namespace = "portico_selection_" + hashlib.sha256(f"{text}\0{less_optimised}".encode()).hexdigest()[:16]
    name = f'constexpr const char *portico_namespace = "{namespace}";'
    parts = [f"namespace {namespace} {{\n{name}\n{text}\n}}"]
    if less_optimised:
        parts.append(f"#pragma cling optimize(1)\nnamespace {namespace} {{\n{less_optimised}\n}}")
    return Piece(namespace, tuple(parts), header)


def compile_pieces(
    pieces: Sequence[Piece], where: str, *, library: bool = True, ahead_of_time: bool = False
) -> str:  # fmt: skip
    """Have the last of some pieces in this process; return the name of its namespace.

    Parameters
    ----------
    pieces : sequence of Piece
        It, after those that it uses.
    where : str
        Name of the selection file for messages.
    library : bool
        Whether it may come from a library.
    ahead_of_time : bool
        Have a library made of what cling compiles now.

    Raises
    ------
    StepError
        If one does not compile.
    """
    last = pieces[-1].namespace
    headers, after = (
        [*dict.fromkeys(of)] for of in zip(*((one.header, one.after) for one in pieces[::-1]), strict=True)
    )
    if last in _compiled:
        return last
    text = "\n".join(part for one in pieces for part in one.parts)
    unit = ahead.included(headers, text, after) if library else None
    if unit is None or ahead.load(unit) is None:
        for one in (one for one in pieces if one.namespace not in _compiled):
            one.prepare()
            root.use(one.header)
            if not all(map(root.declare_text, one.parts)):
                raise StepError(f"{where} does not compile; the compiler's messages name the key and the expression")
            _compiled.add(one.namespace)
        if unit is not None and ahead_of_time and ahead.build(unit):
            _awaited[last] = unit
    _compiled.add(last)
    return last


def take_libraries() -> None:
    """Use from now on the libraries that were made of what cling compiled here: they run several times as fast."""
    for namespace, unit in list(_awaited.items()):
        if ahead.load(unit) is not None:
            del _awaited[namespace]
