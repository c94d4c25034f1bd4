"""Shared parts of all commands: imports on first use, errors and exit statuses, JSON."""

from __future__ import annotations

import importlib
import io
import json
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from portico._version import __version__
from portico.errors import ConfigError, PorticoError, nearest
from portico.shown import shown

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["Command", "Group", "echo", "json_option", "on_option", "show_json", "version_option", "write_any_text"]

FAILED, WRONG_USAGE, PARTIAL, INTERRUPTED = 1, 2, 3, 130
_DEBUG = "PORTICO_DEBUG"
_IN_PYTHON = ("load", "session")
"""Functions of the library that are not commands."""

_FAULT = "this is a bug in portico; --debug shows where it happened"

Function = TypeVar("Function", bound=Callable[..., Any])


def echo(text: str = "", *, nl: bool = True, err: bool = False) -> None:
    """Write a text to standard output or standard error, without secrets and control characters."""
    click.echo(shown(text), nl=nl, err=err)


def write_any_text(*streams: TextIO) -> None:
    """Let streams write characters that their encoding lacks, as in the locale C, as escapes.

    A run that is done must not fail because a table has a plus-minus sign.
    """
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Group(click.Group):
    """Commands that are imported when they are called.

    Parameters
    ----------
    commands_at : dict of str to str
        Name to ``module:attribute``, in the order of the help.
    """

    def __init__(self, name: str, *, commands_at: dict[str, str], **options: Any) -> None:
        super().__init__(name, context_settings={"help_option_names": ["-h", "--help"]}, **options)
        self._commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Return the names of the commands."""
        return list(self._commands_at)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 (click's signature)
        cmd_name: str,
    ) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self._commands_at:
            return None
        module, _, attribute = self._commands_at[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the arguments."""
        with _usage_errors_shown():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the arguments name."""
        with _usage_errors_shown():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name, or say which exist."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            if args[0] in _IN_PYTHON:
                ctx.fail(f"No such command '{args[0]}'; in Python and notebooks: portico.{args[0]}(...)")
            ctx.fail(f"No such command '{args[0]}'; {nearest(args[0], self._commands_at)}")


@contextmanager
def _usage_errors_shown() -> Iterator[None]:
    """Have click write its own errors, which repeat arguments, as `echo` writes texts."""
    try:
        yield
    except click.UsageError as error:
        raise click.UsageError(shown(error.format_message()), error.ctx) from error


class Command(click.Command):
    """A command that returns its exit status and turns errors into messages."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        help_text = f"Show where an error comes from (also with {_DEBUG}=1)."
        self.params.append(click.Option(["--debug"], is_flag=True, expose_value=False, help=help_text, callback=_debug))

    def invoke(self, ctx: click.Context) -> None:
        """Run the command; exit with its status."""
        try:
            status = super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt as interrupt:
            for note in getattr(interrupt, "__notes__", ()):
                echo(f"\n{note}", err=True)
            echo("\ninterrupted; what is done is kept, the same command continues where it stopped", err=True)
            ctx.exit(INTERRUPTED)
        except PorticoError as error:
            _complain(ctx, str(error), type(error).__name__)
            ctx.exit(WRONG_USAGE if isinstance(error, ConfigError) else FAILED)
        except OSError as error:
            text = _of_the_system(error)
            _complain(ctx, text, "InternalError" if _FAULT in text else "RunFolderError")
            ctx.exit(FAILED)
        except UnicodeEncodeError as error:
            text = f"{error.object!r} cannot be the name of a file here, whose names are in {error.encoding}"
            _complain(ctx, f"{text}; set PYTHONUTF8=1, or a locale such as LC_ALL=C.UTF-8", "ConfigError")
            ctx.exit(WRONG_USAGE)
        except Exception as error:
            text = f"{type(error).__name__}: {' '.join(str(error).split())}"
            _complain(ctx, f"{text}\n{_FAULT}", "InternalError")
            ctx.exit(FAILED)
        ctx.exit(status or 0)


def _of_the_system(error: OSError) -> str:
    """Return the message for an error of the system: of a disk, or else a bug of portico."""
    from portico.files.troubles import of_a_disk

    found = of_a_disk(error, "the current folder")
    return str(found) if found else f"{type(error).__name__}: {' '.join(str(error).split())}\n{_FAULT}"


def _debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[_DEBUG] = value or os.environ.get(_DEBUG, "") not in {"", "0"}


def _complain(ctx: click.Context, text: str, kind: str) -> None:
    if ctx.meta.get(_DEBUG):
        echo(traceback.format_exc(), err=True)
    first, _, rest = text.partition("\n")
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    echo(first + ("\n" + rest if rest else ""), err=True)
    if ctx.params.get("as_json"):
        show_json({"error": text, "kind": kind})


class _OnOption(click.Option):
    """An option whose completion and help list the installed executors, in place of ``{executors}`` in the help."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Return the possible destinations of a run."""
        from click.shell_completion import CompletionItem as Item

        from portico.executors.where import destinations

        return [Item(name) for name in destinations() if name.startswith(incomplete)]

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the text of the help."""
        from portico.executors.plugins import installed

        self.help = (self.help or "").replace("{executors}", ", ".join(installed()) or "none here")
        return super().get_help_record(ctx)


def on_option(text: str) -> Callable[[Function], Function]:
    """Return the decorator that adds ``--on``."""
    return click.option("--on", cls=_OnOption, default="local", show_default=True, metavar="WHERE", help=text)


def json_option() -> Callable[[Function], Function]:
    """Return the decorator that adds ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output, for scripts.")


def show_json(content: object) -> None:
    """Write JSON to standard output."""
    from portico.results.view import plain

    echo(json.dumps(plain(content), indent=1, allow_nan=False))


def version_option() -> click.Option:
    """Return the option ``--version``."""

    def show(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            echo(f"portico {__version__}")
            ctx.exit()

    return click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version and exit."
    )
