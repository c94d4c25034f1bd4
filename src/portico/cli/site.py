"""`portico site`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portico.cli.base import Command, echo, json_option, show_json

if TYPE_CHECKING:
    from portico.clusters.site import Site

__all__ = ["site"]


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Offer the names of sites."""
    from portico.clusters.site import sites

    return [name for name in sites() if name.startswith(incomplete)]


@click.command(
    cls=Command,
    short_help="List the sites on which an analysis can run, and their settings.",
    epilog="""\b
Examples:
  portico site
  portico site htcondor --script
  portico site htcondor --write ~/.config/portico/sites/myfarm.yaml
  portico site myfarm --json | jq .settings.walltime""",
)
@click.argument("name", required=False, shell_complete=_complete)
@click.option("--script", is_flag=True, help="Show what would be submitted for one job, without submitting it.")
@click.option("--write", "target", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Copy the site's file to FILE, to edit it.")  # fmt: skip
@json_option()
def site(name: str | None, script: bool, target: Path | None, as_json: bool) -> int:
    """List the sites, or show the settings of NAME: how workers start, and what one job requests.

    NAME is a site or a YAML file. Your own sites are YAML files in ~/.config/portico/sites; they take precedence over
    shipped ones of the same name. Use a site with 'portico run ANALYSIS --on NAME'.
    """
    if name is None:
        if script or target is not None:
            raise click.UsageError("--script and --write need the NAME of a site")
        return _list(as_json)
    if target is not None:
        return _copy(name, target)
    from portico.clusters.site import find_site, load_site

    loaded = load_site(name)
    if script:
        return _script(loaded, as_json)
    return _show(loaded, find_site(name), as_json)


def _list(as_json: bool) -> int:
    from portico.clusters.site import load_site, own_folder, sites
    from portico.errors import ConfigError

    rows: list[dict[str, str | bool]] = []
    for name, path in sites().items():
        kind, problem = "wrong", ""
        try:
            kind = str(load_site(name).kind)
        except ConfigError as error:
            problem = str(error)
        rows.append({"name": name, "kind": kind, "file": str(path), "own": path.parent == own_folder(),
                     "error": problem})  # fmt: skip
    if as_json:
        show_json({"sites": rows, "folder": str(own_folder())})
        return 0
    from portico.cli.tables import new_console, new_table

    table = new_table("site", "kind", "from", left=("site", "kind", "from"))
    for row in rows:
        table.add_row(str(row["name"]), str(row["kind"]), str(row["file"]) if row["own"] else "an example of portico")
    new_console().print(table)
    for row in rows:
        if row["error"]:
            echo(f"warning: {row['error']}", err=True)
    echo(f"\nyour own sites: {own_folder()}/NAME.yaml; to create one: portico site EXAMPLE --write FILE")
    return 0


def _show(loaded: Site, path: Path, as_json: bool) -> int:
    settings: dict[str, Any] = loaded.model_dump()
    if as_json:
        show_json({"file": str(path), "settings": settings, "set": sorted(loaded.model_fields_set - {"name"})})
        return 0
    from rich.text import Text

    from portico.cli.tables import new_console, new_table

    table = new_table("setting", "value", "from", left=("setting", "value", "from"))
    for key, value in settings.items():
        if key == "name":
            continue
        lines = [f"{k}: {v}" for k, v in value.items()] if isinstance(value, dict) else ["" if value is None else value]
        table.add_row(key, Text("\n".join(map(str, lines))), path.name if key in loaded.model_fields_set else "default")
    console = new_console()
    console.print(Text.assemble((loaded.name, "bold"), f" in {path}"), soft_wrap=True)
    console.print(table)
    return 0


def _script(loaded: Site, as_json: bool) -> int:
    from portico.clusters.base import print_script

    text = print_script(loaded)
    if as_json:
        show_json({"site": loaded.name, "script": text})
    else:
        echo(text, nl=not text.endswith("\n"))
    return 0


def _copy(name: str, target: Path) -> int:
    from portico.clusters.site import copy_site, own_folder

    target = copy_site(name, target)
    seen = target.parent.resolve() == own_folder().resolve() and target.suffix == ".yaml"
    word = target.stem if seen else str(target)
    echo(f"wrote {target}; edit it, then run: portico site {word} --script")
    return 0
