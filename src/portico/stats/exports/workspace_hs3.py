"""A workspace of pyhf as HS3, the JSON of RooFit: a ``histfactory_dist`` for each channel.

The form is that of RooJSONFactoryWSTool (HS3 0.2), which reads it: likelihood, data, an analysis with domains of
parameters, nuisance parameters and global observables, and ``misc`` with the names of the combined RooFit objects.
The parameter of a ``normsys`` or ``histosys`` NAME is ``alpha_NAME``, gammas are ``gamma_NAME_bin_0`` and so on.
A ``staterror`` is a ``shapesys`` with a Gaussian constraint, since a channel of HS3 has one ``staterror`` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from portico._version import __version__
from portico.errors import InputError
from portico.stats.workspace import Workspace

__all__ = ["workspace_hs3"]

_NAME: Final = "simPdf"
_DATA: Final = "obsData"
_FARTHEST: Final = 1e6  # of global observables that count

_Json = dict[str, Any]


def workspace_hs3(workspace: Workspace, *, prefix: str = "alpha_") -> _Json:
    """Return a workspace as HS3.

    Parameters
    ----------
    workspace : Workspace
    prefix : str
        Of the parameters of ``normsys`` and ``histosys``.

    Raises
    ------
    InputError
        If two names become one in RooFit.
    """
    return _Translation(workspace, prefix).content()


class _Translation:
    def __init__(self, workspace: Workspace, prefix: str) -> None:
        self._workspace, self._prefix = workspace, prefix
        self._settings = {parameter["name"]: parameter for parameter in workspace.parameters}
        self._parameters: dict[str, tuple[float, float, float, bool]] = {}  # value, low, high, constant
        self._observables: dict[str, tuple[float, float, float]] = {}  # global ones
        self._constraints: dict[str, _Json] = {}

    def content(self) -> _Json:
        spec, names = self._workspace.spec, [channel["name"] for channel in self._workspace.spec["channels"]]
        observed = {entry["name"]: entry["data"] for entry in spec["observations"]}
        channels = [self._channel(channel) for channel in spec["channels"]]
        poi = self._workspace.poi
        value, low, high, _ = self._parameters[poi]
        self._parameters[poi] = value, low, high, False
        domains = [
            f"{_NAME}_{_DATA}_{kind}"
            for kind in ("nuisance_parameters", "global_observables", "parameters_of_interest")
        ]
        return {
            "analyses": [
                {"name": f"{_NAME}_{_DATA}", "likelihood": f"{_NAME}_{_DATA}", "domains": domains,
                 "parameters_of_interest": [poi]}
            ],
            "data": [
                {"name": f"{_DATA}_{name}", "type": "binned", "axes": [_axis(name, len(observed[name]))],
                 "contents": [float(n) for n in observed[name]]}
                for name in names
            ],
            "distributions": [*channels, *self._constraints.values()],
            "domains": self._domains(domains, names, observed),
            "likelihoods": [
                {"name": f"{_NAME}_{_DATA}", "distributions": [f"model_{name}" for name in names],
                 "data": [f"{_DATA}_{name}" for name in names]}
            ],
            "metadata": {"hs3_version": "0.2", "packages": [{"name": "portico", "version": __version__}]},
            "misc": _misc(names),
            "parameter_points": [{"name": "default_values", "parameters": self._values()}],
        }  # fmt: skip

    def _domains(self, names: list[str], channels: list[str], observed: Mapping[str, Any]) -> list[_Json]:
        poi = self._workspace.poi
        ranges = {name: (low, high) for name, (_, low, high, _) in self._parameters.items()}
        globs = {name: (low, high) for name, (_, low, high) in self._observables.items()}
        axes = {f"obs_x_{name}": (0.0, float(len(observed[name]))) for name in channels}
        free = {name: of for name, of in ranges.items() if name != poi and not self._parameters[name][3]}
        parts = [free, globs, {poi: ranges[poi]}, {**ranges, **globs, **axes}]
        return [
            {"name": name, "type": "product_domain",
             "axes": [{"name": of, "min": low, "max": high} for of, (low, high) in part.items()]}
            for name, part in zip([*names, "default_domain"], parts, strict=True)
        ]  # fmt: skip

    def _values(self) -> list[_Json]:
        constant = {name: value for name, (value, _, _) in self._observables.items()}
        return [
            *(
                {"name": name, "value": value, **({"const": True} if fixed else {})}
                for name, (value, _, _, fixed) in self._parameters.items()
            ),
            *({"name": name, "value": value, "const": True} for name, value in constant.items()),
        ]

    def _channel(self, channel: Mapping[str, Any]) -> _Json:
        bins = len(channel["samples"][0]["data"])
        samples = [
            {"name": sample["name"], "data": {"contents": [float(n) for n in sample["data"]]},
             "modifiers": [self._modifier(modifier, sample, channel) for modifier in sample["modifiers"]]}
            for sample in channel["samples"]
        ]  # fmt: skip
        return {"name": f"model_{channel['name']}", "type": "histfactory_dist", "axes": [_axis(channel["name"], bins)],
                "samples": samples}  # fmt: skip

    def _modifier(self, modifier: Mapping[str, Any], sample: Mapping[str, Any], channel: Mapping[str, Any]) -> _Json:
        name, kind, data = modifier["name"], modifier["type"], modifier["data"]
        if kind in {"normfactor", "lumi"}:
            parameter = "Lumi" if name == "lumi" and self._prefix else name
            found = {"name": parameter, "parameter": parameter, "type": "normfactor"}
            self._set(parameter, name)
            if kind == "lumi":
                setting = self._settings[name]
                found["constraint_name"] = self._gauss(parameter, setting["auxdata"][0], setting["sigmas"][0])
            return found
        if kind in {"normsys", "histosys"}:
            parameter, setting = f"{self._prefix}{name}", self._settings.get(name, {})
            self._set(parameter, name)
            constraint = self._gauss(parameter, setting.get("auxdata", [0.0])[0], setting.get("sigmas", [1.0])[0])
            sides = data if kind == "normsys" else {
                side: {"contents": [float(n) for n in data[f"{side}_data"]]} for side in ("hi", "lo")
            }  # fmt: skip
            code = 5 if kind == "normsys" else 4
            return {"name": name, "parameter": parameter, "type": kind, "constraint_name": constraint,
                    "interpolation": code, "data": {"hi": sides["hi"], "lo": sides["lo"]}}  # fmt: skip
        return self._of_bins(modifier, sample, channel)

    def _of_bins(self, modifier: Mapping[str, Any], sample: Mapping[str, Any], channel: Mapping[str, Any]) -> _Json:
        name, kind, bins = modifier["name"], modifier["type"], len(sample["data"])
        gammas = [f"gamma_{name}_bin_{i}" for i in range(bins)]
        held = bool(self._settings.get(name, {}).get("fixed", False))
        found = {"name": name, "type": kind, "parameters": gammas}
        if kind == "shapefactor":
            for gamma in gammas:
                self._keep(gamma, 1.0, 0.0, 1000.0, fixed=held)
            return found
        if kind == "shapesys":
            contents, errors = np.array(sample["data"]), np.array(modifier["data"])
        else:
            users = [(s["data"], m["data"]) for s, m in _modifiers(channel, name)]
            contents = np.sum([np.array(data) for data, _ in users], axis=0)
            errors = np.sqrt(np.sum([np.array(of) ** 2 for _, of in users], axis=0))
        relative = np.divide(errors, contents, out=np.zeros(bins), where=contents > 0)
        for gamma, width in zip(gammas, relative, strict=True):
            self._keep(gamma, 1.0, 0.0, 10.0, fixed=held or width == 0)
            if width > 0 and not held:
                value = 1.0 if kind == "staterror" else float(width**-2)
                self._observables[f"nom_{gamma}"] = (
                    value,
                    0.0,
                    10.0 if kind == "staterror" else max(10 * value, _FARTHEST),
                )
        constraint = "Gauss" if kind == "staterror" else "Poisson"
        vals = [float(width) for width in relative]
        return {**found, "type": "shapesys", "constraint_type": constraint, "data": {"vals": vals}}

    def _gauss(self, parameter: str, center: float, width: float) -> str:
        name, glob = f"{parameter}_constraint", f"nom_{parameter}"
        self._constraints[name] = {
            "name": name, "type": "gaussian_dist", "x": parameter, "mean": glob, "sigma": float(width)
        }  # fmt: skip
        self._observables[glob] = float(center), float(center) - 10 * width, float(center) + 10 * width
        return name

    def _set(self, parameter: str, name: str) -> None:
        config = self._workspace.model.config
        at = config.par_slice(name)
        value, (low, high) = config.suggested_init()[at][0], config.suggested_bounds()[at][0]
        self._keep(parameter, float(value), float(low), float(high), fixed=bool(config.suggested_fixed()[at][0]))

    def _keep(self, parameter: str, value: float, low: float, high: float, *, fixed: bool) -> None:
        entry = value, low, high, fixed
        if self._parameters.setdefault(parameter, entry) != entry:
            raise InputError(f"{self._workspace.where}: two parameters become '{parameter}' in HS3; rename one")


def _modifiers(channel: Mapping[str, Any], name: str) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for sample in channel["samples"]:
        for modifier in sample["modifiers"]:
            if modifier["name"] == name:
                yield sample, modifier


def _axis(channel: str, bins: int) -> _Json:
    return {"name": f"obs_x_{channel}", "min": 0.0, "max": float(bins), "nbins": bins}


def _misc(channels: list[str]) -> _Json:
    """Return the names of RooFit's own objects, which RooJSONFactoryWSTool makes of the parts."""
    together = {"index_cat": "channelCat", "indices": list(range(len(channels))), "labels": channels}
    return {
        "ROOT_internal": {
            "ModelConfigs": {f"{_NAME}_{_DATA}": {"mcName": "ModelConfig", "pdfName": _NAME}},
            "combined_datasets": {_DATA: together},
            "combined_distributions": {_NAME: {**together, "distributions": [f"model_{name}" for name in channels]}},
        }
    }
