"""Models of HS3 and of RooWorkspaces in ROOT files. Runs in a process of its own."""

from __future__ import annotations

import json
from typing import Any, Final

from portico import root
from portico.errors import ConfigError, InputError, nearest
from portico.stats.roofit.built import Built, Part, simultaneous
from portico.stats.roofit.expected import main_of
from portico.stats.roofit.files import opened, unknown_classes

__all__ = ["of_file", "of_hs3"]

_DOMAIN: Final = "default_domain"  # that of all parameters, in files of RooFit


def of_file(where: str, path: str, workspace: str, config: str) -> Built:
    """Return the model of a ModelConfig of a RooWorkspace in a ROOT file.

    Parameters
    ----------
    where, path : str
    workspace : str
        Its name; empty for the only one.
    config : str
        Name of the ModelConfig; empty for the first one with a parameter of interest.

    Raises
    ------
    ConfigError, InputError
        If there is no such workspace or ModelConfig, or an object is of a class that ROOT does not have.
    """
    if (file := opened(path)) is None:
        raise InputError(f"{where}: this ROOT file cannot be read")
    if unknown := unknown_classes(file):
        raise InputError(
            f"{where} has objects of {', '.join(unknown)}: classes that ROOT does not have, such as those of Combine, "
            "cannot be read"
        )
    names = list(dict.fromkeys(key.GetName() for key in file.GetListOfKeys() if key.GetClassName() == "RooWorkspace"))
    if not names:
        found = ", ".join(sorted({str(key.GetClassName()) for key in file.GetListOfKeys()})) or "nothing"
        raise InputError(f"{where}: no RooWorkspace is in this ROOT file, but {found}")
    if workspace and workspace not in names:
        raise ConfigError(f"{where}: no workspace '{workspace}'; {nearest(workspace, names)}")
    if not workspace and len(names) > 1:
        raise ConfigError(f"{where} has several workspaces: choose one with --workspace NAME, of {', '.join(names)}")
    space = file.Get(workspace or names[0])
    built = _of_config(space, _config(space, config, where))
    built.data = _only_data(space, where)
    observables = {str(v.GetName()) for v in built.data.get()}
    built.globals = built.globals or _globals(built, observables)
    return _parts(built, where)


def of_hs3(where: str, text: str, analysis: str) -> Built:
    """Return an analysis of HS3, as RooJSONFactoryWSTool reads it.

    Raises
    ------
    InputError
        If RooFit does not read it.
    """
    r = root.load()
    content = json.loads(text)
    chosen = next(of for of in content["analyses"] if of["name"] == analysis)
    likelihood = next(of for of in content["likelihoods"] if of["name"] == chosen["likelihood"])
    if unread := _unread(content):
        raise InputError(f"{where}: {unread}")
    # What RooFit makes of analyses needs its own names in 'misc': channels are put together here, for all files.
    for part in ("analyses", "likelihoods", "misc"):
        content.pop(part, None)
    _complete(content, likelihood)
    space = r.RooWorkspace("w", "w")
    if not r.RooJSONFactoryWSTool(space).importJSONfromString(json.dumps(content)):
        raise InputError(f"{where}: RooFit does not read this HS3")
    poi = chosen["parameters_of_interest"][0]
    if not space.var(poi):
        raise InputError(f"{where}: nothing depends on the parameter of interest '{poi}'")
    parts = []
    for name, of in zip(likelihood["distributions"], likelihood["data"], strict=True):
        pdf = space.pdf(name)
        if not pdf:
            raise InputError(f"{where}: RooFit does not read the distribution '{name}'")
        data = space.data(of) if isinstance(of, str) else None
        if not data:
            raise InputError(f"{where}: RooFit does not read the data {of!r} of distribution '{name}'")
        variables = pdf.getObservables(data.get())
        if not variables.size():
            raise InputError(f"{where}: distribution '{name}' depends on no variable of the data {of!r}")
        parts.append((name, _extended(space, pdf, data), data, data.get()))
    external = [space.pdf(name) for name in likelihood.get("aux_distributions", [])]
    if not all(external):
        raise InputError(f"{where}: RooFit does not read the distributions {likelihood['aux_distributions']}")
    observables = {v.GetName() for *_, data, variables in parts for v in variables}
    built = simultaneous(space, parts, poi, [], [])
    built.external = external
    built.globals = _globals(built, observables)
    return built


def _complete(content: dict[str, Any], likelihood: dict[str, Any]) -> None:
    """Add what RooFit asks for and the standard does not: a domain of all parameters, points as events."""
    distributions = {entry["name"]: entry for entry in content["distributions"]}
    for entry in distributions.values():
        if entry.get("type") == "poisson_dist":
            entry.setdefault("integer", False)
    if all(of.get("name") != _DOMAIN for of in content.setdefault("domains", [])):
        axes = [axis for of in content["domains"] for axis in of.get("axes", [])]
        content["domains"].append({"name": _DOMAIN, "type": "product_domain", "axes": axes})
    used = dict(zip(likelihood["data"], likelihood["distributions"], strict=True))
    for data in content["data"]:
        name = distributions.get(used.get(data["name"], ""), {}).get("x")
        if data.get("type") == "point" and isinstance(data.get("value"), (int, float)) and isinstance(name, str):
            reach = max(10 * abs(float(data["value"])), 100.0)
            axis = {"name": name, "min": data["value"] - reach, "max": data["value"] + reach}
            data |= {"type": "unbinned", "axes": [axis], "entries": [[data["value"]]]}


def _unread(content: dict[str, Any]) -> str:
    """Return what RooFit has no importer for."""
    io = root.load().RooFit.JSONIO
    known = {str(pair.first) for table in (io.importers(), io.importExpressions()) for pair in table}
    for part in ("distributions", "functions"):
        for entry in content.get(part, []):
            if str(entry.get("type")) not in known:
                return f"'{entry.get('name')}' in '{part}' is a '{entry.get('type')}', which RooFit does not read"
    return ""


def _extended(space: Any, pdf: Any, data: Any) -> Any:
    """Return a pdf that says how many events it expects: as many as there are, if it is not a count itself."""
    r = root.load()
    shape = main_of(pdf, data.get())
    if pdf.canBeExtended() or shape.InheritsFrom("RooPoisson"):
        return pdf
    number = r.RooFit.RooConst(float(data.sumEntries()))
    made = r.RooExtendPdf(f"{shape.GetName()}_extended", "", shape, number)
    if shape is not pdf and shape.GetName() != pdf.GetName():
        rest = [of for of in pdf.pdfList() if of.GetName() != shape.GetName()]
        made = r.RooProdPdf(f"{pdf.GetName()}_extended", "", r.RooArgList(made, *rest))
    space.Import(made, r.RooFit.RecycleConflictNodes(True), r.RooFit.Silence(True))
    return space.pdf(made.GetName())


def _globals(built: Built, observables: set[str]) -> list[str]:
    """Return the constants that constraints depend on: auxiliary measurements."""
    r = root.load()
    every = built.pdf.getParameters(built.data.get())
    free = r.RooArgSet(*[v for v in every if not v.isConstant()])
    terms = [*built.pdf.getAllConstraints(built.data.get(), free, False), *built.external]
    found = dict[str, None]()
    for term in terms:
        if not (term.InheritsFrom("RooGaussian") or term.InheritsFrom("RooPoisson")):
            continue
        sides = [term.getX(), term.getMean()]
        fixed = [of for of in sides if not _depends_on_free(of)]
        if not fixed:
            names = " and ".join(f"'{of.GetName()}'" for of in sides)
            raise InputError(f"'{term.GetName()}' constrains nothing, since {names} are both free: make one constant")
        found |= {
            str(of.GetName()): None for of in fixed
            if of.InheritsFrom("RooRealVar") and of.GetName() not in observables
        }  # fmt: skip
    return list(found)


def _depends_on_free(of: Any) -> bool:
    return any(not v.isConstant() for v in ([of] if of.InheritsFrom("RooRealVar") else of.getVariables()))


def _config(space: Any, name: str, where: str) -> Any:
    found = {of.GetName(): of for of in space.allGenericObjects() if of.InheritsFrom("RooStats::ModelConfig")}
    usable = {key: of for key, of in found.items() if of.GetParametersOfInterest() and of.GetPdf()}
    if name and name not in found:
        raise ConfigError(f"{where}: no ModelConfig '{name}'; {nearest(name, found)}")
    if not usable or (name and name not in usable):
        raise InputError(
            f"{where}: workspace '{space.GetName()}' has no ModelConfig with a pdf and a parameter of interest, so "
            "that nothing says what is of interest"
        )
    return found[name] if name else usable.get("ModelConfig", next(iter(usable.values())))


def _of_config(space: Any, config: Any) -> Built:
    pois = [v.GetName() for v in config.GetParametersOfInterest()]
    notes = []
    if len(pois) > 1:
        notes.append(f"of the parameters of interest {', '.join(pois)}, limits are on {pois[0]}; the others float")
    globs = config.GetGlobalObservables()
    external = config.GetExternalConstraints() if hasattr(config, "GetExternalConstraints") else None
    if config.GetSnapshot():
        config.LoadSnapshot()
    return Built(
        space, config.GetPdf(), None, [], pois[0], [g.GetName() for g in globs] if globs else [], notes,
        list(external) if external else [],
    )  # fmt: skip


def _only_data(space: Any, where: str) -> Any:
    """Return the data: those called as HistFactory and Combine do, or the only ones."""
    found = {data.GetName(): data for data in space.allData()}
    for name in ("obsData", "data_obs", "observedData", "combData", "asimovData"):
        if name in found:
            return found[name]
    if len(found) == 1:
        return next(iter(found.values()))
    listed = ", ".join(found) or "none"
    raise InputError(f"{where}: which data are meant? The workspace has {listed}; those called obsData are taken")


def _parts(built: Built, where: str) -> Built:
    """Fill in the channels."""
    r = root.load()
    if built.data.GetName().lower().startswith("asimov"):
        built.notes.append(f"observed limits are not from data: the data of the workspace are {built.data.GetName()}")
    pdf, columns = built.pdf, built.data.get()
    if not pdf.InheritsFrom("RooSimultaneous"):
        built.parts = [Part(pdf.GetName(), pdf, built.data, pdf.getObservables(columns))]
        return built
    category = pdf.indexCat()
    if not columns.find(category.GetName()):
        raise InputError(f"{where}: the data '{built.data.GetName()}' have no category '{category.GetName()}'")
    pieces = {of.GetName(): of for of in built.data.split(columns.find(category.GetName()), True)}
    for name, _ in category:
        part = pdf.getPdf(str(name))
        if part:
            built.parts.append(Part(str(name), part, pieces[str(name)], r.RooArgSet(*part.getObservables(columns))))
    return built
