"""The process that holds a model of RooFit, as this one sees it: requests and answers are lines of JSON."""

from __future__ import annotations

import json
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from portico.environment.interpreter import isolated
from portico.errors import ConfigError, FitError, InputError
from portico.stats.fit import Fit

__all__ = ["Session"]

_LINES: Final = 4  # of what ROOT said, which are told
_ERRORS: Final = {"ConfigError": ConfigError, "FitError": FitError, "InputError": InputError}
_NOISE: Final = ("Warning in <", "Info in <", "[#1]", "[#3]")


class Session:
    """A process of its own with ROOT and one model.

    Parameters
    ----------
    where : str
        The file of the model, for messages.
    kind : {"card", "hs3", "file"}
    content : mapping
        What the model is built of.

    Attributes
    ----------
    about : dict
        Parameters, channels and notes, see `portico.stats.roofit.engine.Engine.describe`.

    Raises
    ------
    ConfigError, InputError
        If the model cannot be built.
    """

    def __init__(self, where: str, kind: str, content: Mapping[str, Any]) -> None:
        self._where = where
        python, environment = isolated()
        self._folder = tempfile.TemporaryDirectory(prefix="portico-roofit-")  # ROOT may write code of a workspace there
        self._said = Path(self._folder.name) / "stderr"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [*python, "-m", "portico.stats.roofit.serve"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=environment, cwd=self._folder.name,
            )  # fmt: skip
        self._end = weakref.finalize(self, _end, self._process, self._folder)
        self.about = self.ask("build", where=where, kind=kind, content=dict(content))

    def ask(self, what: str, **arguments: Any) -> Any:
        """Return the answer to a request.

        Raises
        ------
        ConfigError, FitError, InputError
            What the process raises; `InputError` if it ends.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: S101, PT018 (both are pipes)
        try:
            stdin.write(json.dumps({"ask": what, **arguments}).encode() + b"\n")
            stdin.flush()
            line = stdout.readline()
        except OSError:
            line = b""
        if not line:
            code = self._process.wait()
            raise InputError(f"{self._where}: the process with ROOT ended with {code} at '{what}'{self._words()}")
        answer = json.loads(line)
        if "error" in answer:
            text = answer["error"] if self._where in answer["error"] else f"{self._where}: {answer['error']}"
            known = _ERRORS.get(answer["type"])
            if known is None:
                raise InputError(f"{text}{self._words()}")
            raise known(text)
        return answer["answer"]

    def fit(
        self, data: str, fixed: Mapping[str, float] | None = None, starts: Sequence[Mapping[str, float]] = (), *,
        errors: bool = False, fresh: bool = False,
    ) -> tuple[Fit, dict[str, Any]]:  # fmt: skip
        """Fit ``obs``, ``asimov`` or ``toy`` data, see `roofit.engine.Engine.fit`; also return its answer."""
        options = {"errors": errors, "fresh": fresh}
        found = self.ask("fit", data=data, fixed=dict(fixed or {}), starts=[dict(of) for of in starts], **options)
        return Fit(found["values"], found["nll"], 2 * found["nll"], (), tuple(found["at_limit"])), found

    def _words(self) -> str:
        """Return the last lines that ROOT said."""
        lines = self._said.read_text(encoding="utf-8", errors="replace").splitlines()
        told = [line.strip() for line in lines if line.strip() and not line.startswith(_NOISE)]
        return "".join(f"\n  {line[:300]}" for line in told[-_LINES:])


def _end(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # it ended before it read all
                continue
    process.kill()
    process.wait()
    folder.cleanup()
