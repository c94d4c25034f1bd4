"""HS3 as input: models of ``histfactory_dist``, as RooFit writes them, become workspaces of pyhf.

HS3 is the JSON format of the HEP Statistics Serialization Standard. An analysis names a likelihood, its parameters of
interest and the domains of all parameters; it becomes a measurement. What differs from pyhf is translated exactly:

- a ``normfactor`` with a Gaussian constraint, such as the luminosity, is a modifier ``lumi`` under its own name;
- gammas with a Poisson constraint that samples share are a ``shapefactor``, and a channel more that counts them;
- ``shapesys`` with values of 0 that float, which is how RooFit writes them, are a ``shapefactor``.

Other distributions, and interpolations other than those of HistFactory, are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from portico.errors import ConfigError, InputError, nearest

__all__ = ["hs3_to_pyhf", "is_hs3"]

_EXACT: Final = 1e10  # events: a factor that is known so well is constant
_INTERPOLATIONS: Final[dict[str, tuple[object, ...]]] = {"normsys": (None, 4, 5), "histosys": (None, 4)}
_GAUSS, _POISSON = ("Gauss", "Gaussian"), ("Poisson",)

_Spec = dict[str, Any]


def is_hs3(content: object) -> bool:
    """Whether JSON is HS3."""
    return isinstance(content, dict) and (
        "distributions" in content or "hs3_version" in str(content.get("metadata"))
    )  # fmt: skip


def hs3_to_pyhf(content: Mapping[str, Any], where: str, analysis: str = "") -> tuple[_Spec, tuple[str, ...]]:
    """Return an analysis in HS3 as a workspace of pyhf, and notes.

    Parameters
    ----------
    content : mapping
    where : str
        The file, for messages.
    analysis : str
        Its name; by default the first one whose data are no Asimov data.

    Raises
    ------
    ConfigError
        If there is no such analysis.
    InputError
        If a part is missing, of another type, or cannot be a workspace.
    """
    try:
        return _Translation(content, where).workspace(analysis)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # a part of another type
        raise _other_type(error, where) from error


def analysis_beyond_histfactory(content: Mapping[str, Any], where: str, analysis: str = "") -> str | None:
    """Return the name of an analysis that has other distributions than ``histfactory_dist``; None if it has none.

    Raises
    ------
    ConfigError, InputError
        See `hs3_to_pyhf`.
    """
    try:
        return _Translation(content, where).beyond_histfactory(analysis)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # a part of another type
        raise _other_type(error, where) from error


def _other_type(error: Exception, where: str) -> InputError:
    reason = f"key {error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
    return InputError(f"{where}: a part of this HS3 has another type than it should: {reason}")


class _Translation:
    def __init__(self, content: Mapping[str, Any], where: str) -> None:
        self._where, self._content = where, content
        parts = ("distributions", "data", "likelihoods", "analyses", "domains", "parameter_points")
        self._parts = {part: self._named(part) for part in parts}
        self._settings: dict[str, _Spec] = {}
        self._bounds: dict[str, list[float]] = {}
        self._values: dict[str, tuple[float, bool]] = {}
        self._used: dict[tuple[str, ...], int] = {}  # how many samples share some gammas
        self._counters: dict[str, list[float]] = {}  # channels that count gammas, by name of the gammas

    def workspace(self, name: str) -> tuple[_Spec, tuple[str, ...]]:
        analysis, notes = self._analysis(name)
        self._read_parameters(analysis)
        pairs = self._pairs(analysis)
        self._count_uses(pairs)
        channels = [self._channel(distribution) for distribution, _ in pairs]
        observations = [
            {"name": channel["name"], "data": self._numbers(data, "contents", f"data '{data['name']}'")}
            for channel, (_, data) in zip(channels, pairs, strict=True)
        ]
        for of, taus in self._counters.items():
            modifier = {"name": of, "type": "shapefactor", "data": None}
            channels.append({"name": f"count_{of}", "samples": [{"name": of, "data": taus, "modifiers": [modifier]}]})
            observations.append({"name": f"count_{of}", "data": taus})
        poi = analysis["parameters_of_interest"][0]
        self._set(poi)
        self._settings[poi].pop("fixed", None)
        config = {"poi": poi, "parameters": list(self._settings.values())}
        measurements = [{"name": analysis["name"], "config": config}]
        found = {
            "channels": channels, "observations": observations, "measurements": measurements, "version": "1.0.0",
        }  # fmt: skip
        return found, tuple(notes)

    def beyond_histfactory(self, name: str) -> str | None:
        """Return the name of the analysis if its likelihood has other distributions."""
        analysis, _ = self._analysis(name)
        likelihood = self._get("likelihoods", analysis.get("likelihood", ""), f"analysis '{analysis['name']}'")
        of, names, data = f"likelihood '{likelihood['name']}'", likelihood.get("distributions"), likelihood.get("data")
        if not names or not data or len(names) != len(data):
            raise self._wrong(f"{of}: {len(names or [])} distributions and {len(data or [])} data")
        for distribution, observed in zip(names, data, strict=True):
            self._get("distributions", distribution, of)
            if isinstance(observed, str):
                self._get("data", observed, of)
        return None if all(self._of_histfactory(of) for of in names) else str(analysis["name"])

    def _of_histfactory(self, name: str) -> bool:
        known = self._parts["distributions"]
        kind, factors = known[name].get("type"), known[name].get("factors")
        inside = [known.get(factor, {}).get("type") for factor in factors or []]
        return kind == "histfactory_dist" or (kind == "product_dist" and inside.count("histfactory_dist") == 1)

    # the parts of the file

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self._where}: {what}")

    def _named(self, part: str) -> dict[str, _Spec]:
        entries = self._content.get(part, [])
        if not isinstance(entries, list) or not all(isinstance(e, dict) and "name" in e for e in entries):
            raise self._wrong(f"'{part}' must be a list of objects with names")
        return {str(entry["name"]): entry for entry in entries}

    def _get(self, part: str, name: str, of: str) -> _Spec:
        if name not in self._parts[part]:
            raise self._wrong(f"{of}: '{name}' is not in '{part}'; {nearest(str(name), self._parts[part])}")
        return self._parts[part][name]

    def _analysis(self, name: str) -> tuple[_Spec, list[str]]:
        known = self._parts["analyses"]
        if not known:
            raise self._wrong("HS3 without 'analyses': nothing says which parameter is of interest")
        if name and name not in known:
            raise ConfigError(f"{self._where}: no analysis '{name}'; {nearest(name, known)}")
        observed = [of for of in known if "asimov" not in of.lower()]
        chosen = name or (observed or list(known))[0]
        pois = known[chosen].get("parameters_of_interest")
        if not isinstance(pois, list) or not pois:
            raise self._wrong(f"analysis '{chosen}' has no 'parameters_of_interest'")
        notes = []
        if len(known) > 1 and not name:
            notes.append(f"analysis '{chosen}' was taken, of {', '.join(known)}: --measurement selects another")
        if len(pois) > 1:
            notes.append(f"of the parameters of interest {', '.join(pois)}, limits are on {pois[0]}; the others float")
        return known[chosen], notes

    def _pairs(self, analysis: _Spec) -> list[tuple[_Spec, _Spec]]:
        """Return the distributions of the likelihood with their data."""
        of = f"analysis '{analysis['name']}'"
        likelihood = self._get("likelihoods", analysis.get("likelihood", ""), of)
        names, data = likelihood.get("distributions", []), likelihood.get("data", [])
        of = f"likelihood '{likelihood['name']}'"
        if not names or len(names) != len(data):
            raise self._wrong(f"{of}: {len(names)} distributions and {len(data)} data")
        found = []
        for name, observed in zip(names, data, strict=True):
            if not isinstance(observed, str):
                raise self._wrong(f"{of}: the data of '{name}' are {observed!r}, not the name of binned data")
            found.append((self._histfactory(name, of), self._get("data", observed, of)))
        return found

    def _histfactory(self, name: str, of: str) -> _Spec:
        distribution = self._get("distributions", name, of)
        kind = distribution.get("type")
        if kind == "product_dist":
            factors = [
                self._get("distributions", factor, f"distribution '{name}'") for factor in distribution["factors"]
            ]
            inner = [factor for factor in factors if factor.get("type") == "histfactory_dist"]
            if len(inner) == 1:
                return inner[0]
        if kind != "histfactory_dist":
            raise self._wrong(f"distribution '{name}' is a '{kind}'; models of histfactory_dist are read")
        return distribution

    def _read_parameters(self, analysis: _Spec) -> None:
        for point in self._parts["parameter_points"].values():
            for entry in point.get("parameters", []):
                if "value" in entry:
                    known = self._values.get(entry["name"])
                    self._values[entry["name"]] = known or (float(entry["value"]), bool(entry.get("const")))
        for name in analysis.get("domains", []):
            for axis in self._get("domains", name, f"analysis '{analysis['name']}'").get("axes", []):
                if "min" in axis and "max" in axis:
                    self._bounds[axis["name"]] = [float(axis["min"]), float(axis["max"])]

    def _numbers(self, of: Mapping[str, Any], key: str, place: str) -> list[float]:
        values = of.get(key) if isinstance(of, Mapping) else None
        if not isinstance(values, list) or not all(isinstance(v, (int, float)) for v in values):
            raise self._wrong(f"{place}: '{key}' must be a list of numbers")
        return [float(value) for value in values]

    # channels

    def _modifiers(self, distribution: _Spec) -> Iterator[tuple[_Spec, _Spec]]:
        for sample in distribution.get("samples", []):
            for modifier in sample.get("modifiers", []):
                yield sample, modifier

    def _count_uses(self, pairs: Sequence[tuple[_Spec, _Spec]]) -> None:
        for distribution, _ in pairs:
            for sample, modifier in self._modifiers(distribution):
                if modifier.get("type") in {"staterror", "shapesys"}:
                    gammas = self._gammas(modifier, sample, distribution["name"])
                    self._used[gammas] = self._used.get(gammas, 0) + 1

    def _channel(self, distribution: _Spec) -> _Spec:
        name, samples = distribution["name"], []
        for sample in distribution.get("samples", []):
            place = f"distribution '{name}', sample '{sample.get('name')}'"
            contents = self._numbers(sample.get("data", {}), "contents", place)
            modifiers: list[_Spec] = []
            for modifier in sample.get("modifiers", []):
                kind = modifier.get("type")
                if kind in {"staterror", "shapesys", "shapefactor"}:
                    modifiers += self._of_bins(modifier, sample, distribution, contents, place)
                else:
                    modifiers.append(self._of_sample(modifier, place))
            samples.append({"name": str(sample.get("name")), "data": contents, "modifiers": modifiers})
        if not samples:
            raise self._wrong(f"distribution '{name}' has no samples")
        return {"name": name, "samples": samples}

    def _of_sample(self, modifier: _Spec, place: str) -> _Spec:
        kind, name = modifier.get("type"), str(modifier.get("name", modifier.get("parameter")))
        place = f"{place}, {kind} '{name}'"
        if kind in {"normfactor", "lumi"}:
            parameter = str(modifier.get("parameter", name))
            constraint = self._constraint(parameter, modifier, place)
            self._set(parameter, **({} if constraint is None else constraint))
            return {"name": parameter, "type": "normfactor" if constraint is None else "lumi", "data": None}
        if kind not in {"normsys", "histosys"}:
            raise self._wrong(
                f"{place} is not read; valid: histosys, normfactor, normsys, shapefactor, shapesys, staterror"
            )
        if modifier.get("interpolation") not in _INTERPOLATIONS[kind]:
            raise self._wrong(f"{place}: interpolation {modifier['interpolation']} is not that of HistFactory, 4")
        parameter = str(modifier.get("parameter", f"alpha_{name}"))
        constraint = self._constraint(parameter, modifier, place) or {}
        self._set(parameter, **({} if constraint == {"auxdata": [0.0], "sigmas": [1.0]} else constraint))
        data = modifier.get("data")
        if not isinstance(data, dict) or not {"hi", "lo"} <= data.keys():
            raise self._wrong(f"{place}: 'data' has the keys hi and lo")
        if kind == "normsys":
            return {"name": parameter, "type": kind, "data": {"hi": float(data["hi"]), "lo": float(data["lo"])}}
        sides = {f"{side}_data": self._numbers(data[side], "contents", f"{place}: {side}") for side in ("hi", "lo")}
        return {"name": parameter, "type": kind, "data": sides}

    def _constraint(self, parameter: str, modifier: _Spec, place: str) -> _Spec | None:
        """Return auxiliary datum and width of the Gaussian constraint of a parameter; None if it has none."""
        kind = modifier.get("constraint", modifier.get("constraint_type"))
        if kind is not None and kind not in _GAUSS:
            raise self._wrong(f"{place}: a constraint of the type '{kind}' is not read; valid: Gauss")
        name = modifier.get("constraint_name")
        found = [self._get("distributions", name, place)] if name else [
            of for of in self._parts["distributions"].values()
            if of.get("type") == "gaussian_dist" and parameter in {of.get("x"), of.get("mean")}
        ]  # fmt: skip
        if not found:
            return {"auxdata": [0.0], "sigmas": [1.0]} if modifier["type"] in {"normsys", "histosys"} else None
        of = found[0]
        if of.get("type") not in {"gaussian_dist", "normal_dist"}:
            raise self._wrong(f"{place}: its constraint '{of['name']}' is a '{of.get('type')}'; valid: gaussian_dist")
        center = of.get("x") if of.get("mean") == parameter else of.get("mean")
        return {"auxdata": [self._value(center, place)], "sigmas": [self._value(of.get("sigma"), place)]}

    def _value(self, of: object, place: str) -> float:
        if isinstance(of, (int, float)):
            return float(of)
        if str(of) not in self._values:
            raise self._wrong(f"{place}: '{of}' has no value in 'parameter_points'")
        return self._values[str(of)][0]

    def _set(self, name: str, **more: Any) -> None:
        """Keep what the file says about a parameter as a setting of the measurement."""
        setting = self._settings.setdefault(name, {"name": name})
        setting.update(more)
        if name in self._values:
            value, constant = self._values[name]
            setting["inits"] = [value]
            if constant:
                setting["fixed"] = True
        if name in self._bounds:
            setting["bounds"] = [self._bounds[name]]
        elif "sigmas" in setting and "auxdata" in setting:
            (center,), (sigma,) = setting["auxdata"], setting["sigmas"]
            setting.setdefault("bounds", [[center - 5 * sigma, center + 5 * sigma]])
            setting.setdefault("inits", [center])

    # factors of bins

    def _gammas(self, modifier: _Spec, sample: _Spec, channel: str) -> tuple[str, ...]:
        parameters = modifier.get("parameters")
        if isinstance(parameters, list) and parameters:
            return tuple(map(str, parameters))
        own = f"_{sample.get('name')}" if modifier["type"] == "shapesys" else ""
        return (f"{modifier.get('name', modifier['type'])}_{channel}{own}",)

    def _of_bins(
        self, modifier: _Spec, sample: _Spec, distribution: _Spec, contents: list[float], place: str
    ) -> list[_Spec]:
        kind, gammas = modifier["type"], self._gammas(modifier, sample, distribution["name"])
        name = _common(gammas)
        place = f"{place}, {kind} '{modifier.get('name', name)}'"
        free = {"name": name, "type": "shapefactor", "data": None}
        if kind == "shapefactor":
            return [free]
        if kind == "staterror":
            relative = self._of_simulation(gammas, distribution, place)
        else:
            relative = self._numbers(modifier.get("data", {}), "vals", place)
        if len(relative) != len(contents):
            raise self._wrong(f"{place}: {len(relative)} values for {len(contents)} bins")
        constant = [self._values.get(gamma, (1.0, False))[1] for gamma in gammas]
        if len(constant) == len(contents):
            relative = [0.0 if held else value for value, held in zip(relative, constant, strict=True)]
        constraint = modifier.get("constraint", modifier.get("constraint_type", "Poisson"))
        if kind == "shapesys" and not any(relative):
            return [] if all(constant) or constraint in _POISSON else [free]
        if constraint in _GAUSS:
            return self._gaussian(name, kind, relative, sample, distribution, contents, gammas)
        if constraint not in _POISSON:
            raise self._wrong(f"{place}: a constraint of the type '{constraint}' is not read; valid: Gauss, Poisson")
        if self._used[gammas] == 1:
            data = [value * content for value, content in zip(relative, contents, strict=True)]
            return [{"name": name, "type": "shapesys", "data": data}] if any(data) else []
        self._counters[name] = [_EXACT if value == 0 else value**-2 for value in relative]
        return [free]

    def _gaussian(
        self, name: str, kind: str, relative: list[float], sample: _Spec, distribution: _Spec, contents: list[float],
        gammas: tuple[str, ...],
    ) -> list[_Spec]:  # fmt: skip
        """Return a staterror, whose widths are the sum of squares over samples, over the sum of their contents."""
        errors = sample.get("data", {}).get("errors")
        if kind == "staterror" and isinstance(errors, list):
            data = [float(e) if value > 0 else 0.0 for e, value in zip(errors, relative, strict=True)]
            return [{"name": name, "type": "staterror", "data": data}]
        users = [s for s, m in self._modifiers(distribution) if m["type"] == kind
                 and self._gammas(m, s, distribution["name"]) == gammas]  # fmt: skip
        if self._used[gammas] != len(users):
            raise self._wrong(f"'{name}': gammas with Gaussian constraints in several channels are not read")
        total = [sum(float(s["data"]["contents"][i]) for s in users) for i in range(len(contents))]
        first = users[0] is sample
        data = [value * whole if first else 0.0 for value, whole in zip(relative, total, strict=True)]
        return [{"name": name, "type": "staterror", "data": data}]

    def _of_simulation(self, gammas: tuple[str, ...], distribution: _Spec, place: str) -> list[float]:
        """Return the relative statistical uncertainties of the samples that share gammas."""
        name = distribution["name"]
        users = [s for s, m in self._modifiers(distribution) if m.get("type") == "staterror"
                 and self._gammas(m, s, name) == gammas]  # fmt: skip
        contents = [self._numbers(s["data"], "contents", place) for s in users]
        errors = [self._numbers(s["data"], "errors", place) for s in users]
        if any(len(e) != len(contents[0]) or len(c) != len(contents[0]) for e, c in zip(errors, contents, strict=True)):
            raise self._wrong(f"{place}: contents and errors have different numbers of bins")
        sums = [(sum(c), sum(e * e for e in s)) for c, s in zip(zip(*contents), zip(*errors), strict=True)]  # noqa: B905
        return [squares**0.5 / total if total > 0 else 0.0 for total, squares in sums]


def _common(gammas: tuple[str, ...]) -> str:
    """Return one name for the gammas of bins: what they begin with, without a number at the end."""
    first = gammas[0]
    if len(gammas) == 1 and not first.endswith("_bin_0"):
        return first
    return first.removesuffix("_0").removesuffix("_bin")
