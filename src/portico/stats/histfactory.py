"""Checks of pyhf (HistFactory) workspaces: the schema, and consistency that the schema does not cover.

L. Heinrich et al., JOSS 6 (2021) 2823, and the specification of HistFactory, CERN-OPEN-2012-016.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from portico.errors import ConfigError, InputError, nearest

__all__ = ["ASIMOV", "check_workspace", "choose_measurement", "left_observations", "validated"]

#: Types of modifiers, which change the yields of a sample.
MODIFIERS: Final = ("histosys", "lumi", "normfactor", "normsys", "shapefactor", "shapesys", "staterror")
#: Prefix of the name of a measurement whose data are Asimov data, because real data are blinded or missing.
ASIMOV: Final = "Asimov data of the "
_LONGEST: Final = 60  # characters of a value in a message


def validated(content: object, schema: str, where: str) -> None:
    """Check JSON against a schema of pyhf, without network.

    Parameters
    ----------
    content : object
    schema : str
        ``workspace``, ``patchset``, ``jsonpatch``, or another definition.
    where : str
        The file, for messages.

    Raises
    ------
    InputError
        Names the path in the file and what is wrong there.
    """
    import pyhf.schema
    from jsonschema import Draft6Validator  # type: ignore[import-untyped]
    from jsonschema.exceptions import best_match  # type: ignore[import-untyped]
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT6

    definitions = pyhf.schema.load_schema(f"{pyhf.schema.version}/defs.json")
    stored = Resource.from_contents(definitions, default_specification=DRAFT6)
    registry = Registry().with_resource(definitions["$id"], stored)
    validator = Draft6Validator({"$ref": f"{definitions['$id']}#/definitions/{schema}"}, registry=registry)
    problem = best_match(validator.iter_errors(content))
    if problem is None:
        return
    kind = problem.instance.get("type") if problem.validator == "anyOf" and isinstance(problem.instance, dict) else None
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.absolute_path).lstrip(".")
    if kind in MODIFIERS:  # nothing fits a modifier: say what is wrong with one of its type
        validated(problem.instance, f"modifier/{kind}", f"{where}: {path}")
    raise InputError(f"{where}: {path + ': ' if path else ''}{_what(problem)}")


def _what(problem: Any) -> str:
    """Shorten the message of a violation, which holds the whole instance."""
    instance = json.dumps(problem.instance, default=str)
    shown = instance if len(instance) <= _LONGEST else instance[:_LONGEST] + "..."
    if problem.validator == "required":
        missing = [key for key in problem.validator_value if key not in problem.instance]
        return f"key '{missing[0]}' is missing"
    if problem.validator == "additionalProperties":
        valid = problem.schema["properties"]
        unknown = next(key for key in problem.instance if key not in valid)
        return f"unknown key '{unknown}'; {nearest(unknown, valid)}"
    if problem.validator == "type":
        return f"expected {problem.validator_value}, found {shown}"
    if problem.validator == "const":
        return f"expected {json.dumps(problem.validator_value)}, found {shown}"
    if problem.validator == "minItems":
        return "is empty" if not problem.instance else f"has less than {problem.validator_value} entries"
    if problem.validator == "anyOf":
        return f"{shown} is not allowed here"
    return str(problem.message)[: 2 * _LONGEST]


def check_workspace(spec: Mapping[str, Any], where: str) -> None:
    """Check a workspace: its schema, its names, its numbers, and that its data are possible.

    The schema allows one factor with a Gaussian constraint only, named ``lumi``; here there may be others of this type.

    Raises
    ------
    InputError
        Names the channel, the sample and the bin where something is wrong.
    """
    _check_modifier_types(spec, where)
    validated(_with_one_lumi(spec), "workspace", where)
    channels, observations = spec["channels"], {entry["name"]: entry["data"] for entry in spec["observations"]}
    _unique([channel["name"] for channel in channels], f"{where}: channels")
    _unique([entry["name"] for entry in spec["observations"]], f"{where}: observations")
    _unique([entry["name"] for entry in spec["measurements"]], f"{where}: measurements")
    linear = _may_be_negative(spec["measurements"])
    for channel in channels:
        place = f"{where}: channel '{channel['name']}'"
        if channel["name"] not in observations:
            left = [name for name in observations if name not in {of["name"] for of in channels}]
            hint = f"; those of '{left[0]}' belong to no channel: a misspelt name?" if left else ""
            raise InputError(f"{place} has no observations; give it an entry in 'observations'{hint}")
        _check_channel(channel, observations[channel["name"]], linear, place)


def _with_one_lumi(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a workspace for the schema: modifiers of type lumi have that name."""

    def named(modifier: Any) -> Any:
        return {**modifier, "name": "lumi"} if isinstance(modifier.get("name"), str) else modifier

    def other(modifier: Mapping[str, Any]) -> bool:
        return modifier.get("type") == "lumi" and modifier.get("name") != "lumi"

    channels = spec.get("channels")
    found = [m for c in _dicts(channels) for s in _dicts(c.get("samples")) for m in _dicts(s.get("modifiers"))]
    if not any(other(modifier) for modifier in found):
        return spec
    return {
        **spec,
        "channels": [
            {**c, "samples": [
                {**s, "modifiers": [named(m) if isinstance(m, dict) and other(m) else m for m in s["modifiers"]]}
                if isinstance(s, dict) and isinstance(s.get("modifiers"), list) else s for s in c["samples"]
            ]} if isinstance(c, dict) and isinstance(c.get("samples"), list) else c
            for c in channels or ()
        ],
    }  # fmt: skip


def left_observations(spec: Mapping[str, Any]) -> list[str]:
    """Note observations without a channel, which a patch that removes channels leaves; they are not used."""
    names = {channel["name"] for channel in spec["channels"]}
    left = [entry["name"] for entry in spec["observations"] if entry["name"] not in names]
    if not left:
        return []
    of = f"channel '{left[0]}', which does" if len(left) == 1 else f"channels {', '.join(left)}, which do"
    return [f"observations of {of} not exist, are not used: a patch may have removed what they belong to"]


def _check_modifier_types(spec: Mapping[str, Any], where: str) -> None:
    """Name a modifier that does not exist: the schema could only say that nothing fits."""
    for channel in _dicts(spec.get("channels")):
        for sample in _dicts(channel.get("samples")):
            for modifier in _dicts(sample.get("modifiers")):
                kind = modifier.get("type")
                if isinstance(kind, str) and kind not in MODIFIERS:
                    place = f"{where}: channel '{channel.get('name')}', sample '{sample.get('name')}'"
                    raise InputError(
                        f"{place}: modifier '{modifier.get('name')}' has the unknown type '{kind}'; "
                        f"{nearest(kind, MODIFIERS)}"
                    )


def _dicts(entries: object) -> Iterator[dict[str, Any]]:
    yield from (entry for entry in entries if isinstance(entry, dict)) if isinstance(entries, list) else ()


def _unique(names: Sequence[str], place: str) -> None:
    if double := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{place}: the name '{min(double)}' appears twice")


def _may_be_negative(measurements: Sequence[Mapping[str, Any]]) -> set[str]:
    """Factors with bounds below 0: those of linear terms, whose samples are changes and no yields; never a strength."""
    configs = [measurement["config"] for measurement in measurements]
    strengths = {config["poi"] for config in configs}
    parameters = [p for config in configs for p in config["parameters"] if p["name"] not in strengths]
    return {p["name"] for p in parameters if any(bounds[0] < 0 for bounds in p.get("bounds", []))}


def _check_channel(channel: Mapping[str, Any], data: Sequence[float], linear: set[str], place: str) -> None:
    bins = len(channel["samples"][0]["data"])
    _unique([sample["name"] for sample in channel["samples"]], f"{place}, samples")
    if len(data) != bins:
        raise InputError(f"{place}: {len(data)} observed bins, but its samples have {bins}")
    _all(data, lambda n: math.isfinite(n) and n >= 0, f"{place}: observed", "not a number of events")
    for sample in channel["samples"]:
        _check_sample(sample, bins, linear, f"{place}, sample '{sample['name']}'")


def _check_impossible(channel: Mapping[str, Any], data: Sequence[float], poi: str, place: str) -> None:
    """Refuse data in bins where the model expects none, or none without signal: likelihoods of 0 have no ratio."""
    signal = [s for s in channel["samples"] if any(_is_strength(m, poi) for m in s["modifiers"])]
    rest = [sample for sample in channel["samples"] if sample not in signal]
    for index, count in enumerate(data):
        if count == 0 or any(_may_expect(sample, index) for sample in rest):
            continue
        only = "only signal is expected" if any(_may_expect(s, index) for s in signal) else "nothing is expected"
        raise InputError(
            f"{place}, bin {index + 1}: {count:g} observed where {only}, which is impossible without signal; merge the "
            "bin with its neighbour, or give it a background"
        )


def _is_strength(modifier: Mapping[str, Any], name: str) -> bool:
    return bool(modifier["type"] == "normfactor" and modifier["name"] == name)


def _check_sample(sample: Mapping[str, Any], bins: int, linear: set[str], place: str) -> None:
    if len(sample["data"]) != bins:
        raise InputError(f"{place} has {len(sample['data'])} bins, others of the channel have {bins}")
    advice = "a yield must not be negative: merge bins, or set it to 0 with an uncertainty"
    signed = any(_is_strength(modifier, name) for modifier in sample["modifiers"] for name in linear)
    _all(sample["data"], lambda n: math.isfinite(n) and (n >= 0 or signed), f"{place}: expected events", advice)
    _check_repeated(sample["modifiers"], place)
    for modifier in sample["modifiers"]:
        name, kind, data = modifier["name"], modifier["type"], modifier["data"]
        where = f"{place}, {kind} '{name}'"
        if kind == "normsys":
            for side in ("lo", "hi"):
                if not (math.isfinite(data[side]) and data[side] > 0):
                    raise InputError(f"{where}: {side} = {data[side]}; a factor must be above 0")
        elif kind == "histosys":
            for side in ("lo_data", "hi_data"):
                _lengths(data[side], bins, f"{where}: {side}")
                _all(data[side], math.isfinite, f"{where}: {side}", "a yield must be a finite number")
        elif kind in {"shapesys", "staterror"}:
            _lengths(data, bins, where)
            _all(data, lambda n: math.isfinite(n) and n >= 0, where, "an uncertainty must not be negative")


def _check_repeated(modifiers: Sequence[Mapping[str, Any]], place: str) -> None:
    """Refuse a modifier that is there twice: pyhf takes the last one in silence."""
    seen: set[tuple[str, str]] = set()
    for modifier in modifiers:
        key = modifier["name"], modifier["type"]
        if key in seen:
            raise InputError(
                f"{place}: modifier '{key[0]}' of type {key[1]} appears twice; keep one of them, or give them two "
                "names (modifiers of different types may share a name, and so a parameter)"
            )
        seen.add(key)


def _may_expect(sample: Mapping[str, Any], index: int) -> bool:
    """Whether a sample expects something in a bin, or may for some value of its nuisance parameters."""
    varied = (
        side[index]
        for modifier in sample["modifiers"]
        if modifier["type"] == "histosys"
        for side in modifier["data"].values()
    )
    return sample["data"][index] > 0 or any(value > 0 for value in varied)


def _lengths(values: Sequence[float], bins: int, place: str) -> None:
    if len(values) != bins:
        raise InputError(f"{place} has {len(values)} bins, the sample has {bins}")


def _all(values: Sequence[float], good: Callable[[float], bool], place: str, advice: str) -> None:
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise InputError(f"{place}, bin {index + 1} is {value:g}: that is not a number")
        if not good(value):
            raise InputError(f"{place}, bin {index + 1} is {value:g}: {advice}")


def choose_measurement(spec: Mapping[str, Any], name: str, where: str) -> tuple[str, str, list[dict[str, Any]]]:
    """Return the name of a measurement, its parameter of interest and its parameters.

    Parameters
    ----------
    spec : mapping
        A checked workspace.
    name : str
        Empty: the first one.
    where : str
        The file, for messages.

    Raises
    ------
    ConfigError
        If the measurement does not exist.
    InputError
        If it has no parameter of interest, or one that multiplies no signal, or data are impossible without signal.
    """
    known = {measurement["name"]: measurement for measurement in spec["measurements"]}
    if name and name not in known:
        raise ConfigError(f"{where}: no measurement '{name}'; {nearest(name, known)}")
    measurement = known[name] if name else spec["measurements"][0]
    name, poi = measurement["name"], measurement["config"]["poi"]
    strengths: dict[str, float] = {}
    for sample in (sample for channel in spec["channels"] for sample in channel["samples"]):
        for modifier in sample["modifiers"]:
            if modifier["type"] == "normfactor":
                strengths[modifier["name"]] = strengths.get(modifier["name"], 0.0) + sum(sample["data"])
    if not poi:
        raise InputError(
            f"{where}: measurement '{name}' has no parameter of interest; set its 'poi' to a normfactor; "
            f"{nearest('', strengths)}"
        )
    if poi not in strengths:
        hint = " (a workspace of the background alone needs the patch of a signal: --patch)" if not strengths else ""
        raise InputError(
            f"{where}: the parameter of interest '{poi}' of measurement '{name}' is not a normfactor of any sample"
            f"{hint}; "
            f"{nearest(poi, strengths)}"
        )
    if strengths[poi] <= 0:
        raise InputError(f"{where}: what '{poi}' multiplies expects no events in any bin: there is no signal to limit")
    _check_parameters(spec, measurement["config"], f"{where}: measurement '{name}'")
    _check_degenerate(spec, measurement["config"], where)
    observed = {entry["name"]: entry["data"] for entry in spec["observations"]}
    for channel in spec["channels"]:
        _check_impossible(channel, observed[channel["name"]], poi, f"{where}: channel '{channel['name']}'")
    return name, poi, measurement["config"]["parameters"]


def _check_degenerate(spec: Mapping[str, Any], config: Mapping[str, Any], where: str) -> None:
    """Refuse a free factor that multiplies what the parameter of interest multiplies, and nothing else."""
    fixed = {parameter["name"] for parameter in config["parameters"] if parameter.get("fixed")}
    factors: dict[str, set[tuple[str, str]]] = {}
    for channel in spec["channels"]:
        for sample in channel["samples"]:
            for name in {m["name"] for m in sample["modifiers"] if m["type"] == "normfactor"}:
                factors.setdefault(name, set()).add((channel["name"], sample["name"]))
    constrained = {
        m["name"] for channel in spec["channels"] for sample in channel["samples"] for m in sample["modifiers"]
        if m["type"] != "normfactor"
    }  # fmt: skip
    poi = config["poi"]
    for name, places in factors.items():
        if name != poi and name not in fixed | constrained and places == factors[poi]:
            channel, sample = min(places)
            raise InputError(
                f"{where}: '{poi}' and '{name}' are degenerate: both are free factors of the same samples (channel "
                f"'{channel}', sample '{sample}'{', and others' if len(places) > 1 else ''}) and of no other, so that "
                f"only their product can be found; keep '{name}' constant (\"fixed\": true in a measurement, nuisance "
                "edit freeze in a card) or remove it"
            )


def _check_numbers(parameter: Mapping[str, Any], place: str) -> None:
    """Refuse start values, auxiliary measurements and their uncertainties that are not numbers, and widths of 0."""
    for key in ("inits", "auxdata", "sigmas", "factors"):
        for value in parameter.get(key, ()):
            if not math.isfinite(value):
                raise InputError(f"{place}: {key} has {value:g}, which is not a number")
            if key in {"sigmas", "factors"} and value <= 0 and not parameter.get("fixed"):
                raise InputError(f'{place}: {key} has {value:g}, not above 0; a constant parameter says "fixed": true')


def _check_parameters(spec: Mapping[str, Any], config: Mapping[str, Any], place: str) -> None:
    settings = {parameter["name"]: parameter for parameter in config["parameters"]}
    _unique([parameter["name"] for parameter in config["parameters"]], f"{place}: parameters")
    used = {m["name"] for channel in spec["channels"] for sample in channel["samples"] for m in sample["modifiers"]}
    for name, of in settings.items():
        if name in used:
            _check_numbers(of, f"{place}: parameter '{name}'")
        for pair in of.get("bounds", ()):
            if len(pair) != 2 or pair[0] > pair[1] or (pair[0] == pair[1] and name != config["poi"]):
                raise InputError(f"{place}: the bounds of '{name}' are {pair}, not two increasing numbers")
        if name == config["poi"] and of.get("fixed"):
            raise InputError(f"{place} fixes '{name}', its parameter of interest: leave out 'fixed'")
    modifiers = (m for channel in spec["channels"] for sample in channel["samples"] for m in sample["modifiers"])
    factors = {m["name"] for m in modifiers if m["type"] == "lumi"}
    if any(not {"auxdata", "sigmas"} <= settings.get(name, {}).keys() for name in factors):
        raise InputError(
            f"{place} has no uncertainty of the luminosity, which modifiers of type 'lumi' need; add a parameter "
            '{"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "inits": [1.0], "bounds": [[0.5, 1.5]]}'
        )
