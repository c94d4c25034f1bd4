"""The process that holds a model of RooFit: reads requests from standard input, and answers them in lines of JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from portico.errors import PorticoError
from portico.stats.roofit.built import Built
from portico.stats.roofit.engine import Engine

__all__ = ["main"]


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what ROOT prints is not an answer
    engine: Engine | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        what = asked.pop("ask")
        try:
            if what == "build":
                engine = Engine(_built(**asked))
                answer: Any = engine.describe()
            else:
                assert engine is not None  # noqa: S101 (it is built first)
                answer = _actions(engine)[what](**asked)
            content = {"answer": answer}
        except Exception as error:  # any: the other process tells it
            name = type(error).__name__ if isinstance(error, PorticoError) else ""
            content = {"type": name, "error": " ".join(str(error).split())[:600] or type(error).__name__}
        answers.write(json.dumps(content) + "\n")
        answers.flush()
    os._exit(0)  # ROOT may crash while it is taken down


def _actions(engine: Engine) -> dict[str, Callable[..., Any]]:
    return {
        "asimov": engine.asimov, "events": engine.events, "fit": engine.fit, "throw": engine.throw,
        "write": engine.write,
    }  # fmt: skip


def _built(where: str, kind: str, content: dict[str, Any]) -> Built:
    from portico import root

    quiet = root.load().RooMsgService.instance()
    quiet.setGlobalKillBelow(root.load().RooFit.ERROR)
    if kind == "card":
        from portico.stats.roofit.card_builder import CardBuilder

        return CardBuilder(content, where).build()
    from portico.stats.roofit.workspaces import of_file, of_hs3

    return of_hs3(where=where, **content) if kind == "hs3" else of_file(where=where, **content)


if __name__ == "__main__":
    main()
