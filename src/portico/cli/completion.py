"""`portico completion`."""

from __future__ import annotations

import click

from portico.cli.base import Command

__all__ = ["completion"]


@click.command(
    cls=Command,
    short_help="Print the script that completes commands in a shell.",
    epilog="""\b
Examples:
  eval "$(portico completion bash)"                   now; or in ~/.bashrc
  portico completion zsh > ~/.zfunc/_portico
  portico completion fish > ~/.config/fish/completions/portico.fish""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the script that lets SHELL complete commands, options, and names of steps and samples."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:  # cannot happen: the choice above is click's own list
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(ctx.find_root().command, {}, "portico", "_PORTICO_COMPLETE").source())
    return 0
