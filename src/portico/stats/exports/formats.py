"""Exports by the name of their format."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from portico.errors import ConfigError, InputError, nearest
from portico.stats.exports.combine import write_shape_card
from portico.stats.exports.hepdata import Column, Table, hepdata_submission, limits_columns
from portico.stats.exports.hs3 import export_hs3
from portico.stats.exports.parametric import write_parametric
from portico.stats.exports.pyhf import pyhf_workspace, write_json
from portico.stats.exports.roofit import write_workspace
from portico.stats.exports.workspace_card import write_workspace_card
from portico.stats.exports.workspace_hs3 import workspace_hs3
from portico.stats.exports.workspace_roofit import write_workspace_roofit
from portico.stats.infer import Inference
from portico.stats.model_file import AnyModel
from portico.stats.roofit.model import RooFitModel
from portico.stats.shapes import Template
from portico.stats.workspace import Workspace

__all__ = ["FORMATS", "LIMITS", "export", "export_limits"]

#: Formats by name, with what is written.
FORMATS: Final = {
    "pyhf": "a workspace of pyhf, FILE.json",
    "hs3": "HS3, FILE.json",
    "roofit": "a RooWorkspace, FILE.root",
    "combine": "a datacard of CMS Combine, FILE.txt, and FILE.root beside it",
    "hepdata": "a submission to HEPData with the limits, a FOLDER",
}
#: The format that holds limits, and not the model.
LIMITS: Final = "hepdata"


def export(model: AnyModel, name: str, path: Path) -> None:
    """Write a model for another program.

    Parameters
    ----------
    model : Model, Workspace or RooFitModel
    name : str
        One of `FORMATS`, but for `LIMITS`.
    path : Path

    Raises
    ------
    ConfigError
        If there is no such format of models.
    PorticoError
        What the export itself raises.
    """
    if name not in FORMATS:
        raise ConfigError(f"no format '{name}'; {nearest(name, FORMATS)}")
    if name == LIMITS:
        raise ConfigError(f"{name} holds limits and no model")
    if isinstance(model, RooFitModel):
        if name not in {"hs3", "roofit"}:
            raise InputError(
                f"{model.where} has functions of RooFit, which {name} cannot hold here; valid: --export hs3=FILE.json, "
                "roofit=FILE.root"
            )
        model.write(path, name)
    elif isinstance(model, Workspace):
        _export_workspace(model, name, path)
    elif name == "pyhf":
        write_json(pyhf_workspace(model), path)
    elif name == "hs3":
        export_hs3(model, path)
    elif name == "roofit":
        write_workspace(model, path)
    elif any(k.floating and not isinstance(shape, Template) for _, k in model.components for shape in k.shapes):
        write_parametric(model, path)
    else:
        write_shape_card(path.parent, model, name=path.stem)


def _export_workspace(workspace: Workspace, name: str, path: Path) -> None:
    if name == "hs3":
        write_json(workspace_hs3(workspace), path)
    elif name == "roofit":
        write_workspace_roofit(workspace, path)
    elif name == "combine":
        write_workspace_card(workspace, path)
    else:
        if beyond := workspace.beyond_pyhf:
            raise InputError(
                f"{workspace.where}: the constraint of '{beyond[0]}' is one that a workspace of pyhf cannot hold: it "
                "has one factor with a Gaussian constraint, named lumi, and widths of 1"
            )
        write_json(dict(workspace.spec), path)


def export_limits(result: Inference, folder: Path) -> None:
    """Write limits as a submission to HEPData.

    Raises
    ------
    MissingExtra
        If hepdata_lib is not installed.
    """
    level = f"{result.cl:.4g}"
    limit = limits_columns([result.limit], f"upper limit on {result.poi}", qualifiers={"CL": level})
    parameter = Column("parameter of interest", [1.0], independent=True)
    text = f"Upper limits on {result.poi} at {level} CL (CLs, {result.limit.method}: {result.why})."
    table = Table(f"Limits on {result.poi}", text, "portico limit", (parameter, *limit))
    hepdata_submission(folder, [table], abstract=text)
