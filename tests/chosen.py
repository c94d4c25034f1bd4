"""A selection declared in a file, computed event by event in Python: nothing of it is that of `portico.selection`.

Numbers have the types of C++: those of the columns, double literals, and integers that numpy never makes wider.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Chosen", "Event", "choose"]

_DOUBLE = re.compile(r"(?<![\w.])(\d+\.\d+)(f?)(?!\w)")
_WORDS = {"&&": " and ", "||": " or ", "std::abs": "abs", "double(": "D("}
_NAMES = {"D": np.float64, "F": np.float32, "abs": abs}


@dataclass
class Event:
    """The choices of one event: by rule and selection the index of a candidate, of those that are matched."""

    depth: dict[str, int]
    passing: dict[str, list[int]]
    best: dict[tuple[str, str], int]
    matched: list[bool]

    def chosen(self, rule: str, selection: str) -> int | None:
        index = self.best.get((rule, selection))
        return index if index is not None and self.matched[index] else None


@dataclass
class Chosen:
    """What a selection fills.

    Parameters
    ----------
    fills : mapping
        Values and weights by name of the histogram and variation, in order.
    flows : mapping
        By selection and number of the cut: events, and sums of weights and of their squares. 0 is before all cuts, and
        -1 is the best candidate.
    rows : list of mapping
        The tree.
    """

    fills: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=dict)
    flows: dict[str, dict[int, tuple[int, float, float]]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def fill(self, product: str, variation: str, value: float, weight: float) -> None:
        self.fills.setdefault((product, variation), []).append((float(value), float(weight)))


def _python(text: str) -> str:
    for word, other in _WORDS.items():
        text = text.replace(word, other)
    text = _DOUBLE.sub(lambda found: f"{'F' if found[2] else 'D'}('{found[1]}')", text)
    return re.sub(r"!(?!=)", " not ", text).strip()


class _Values(dict[str, Any]):
    """The names of an expression: columns, of which those of candidates have one element, and definitions."""

    def __init__(self, columns: Mapping[str, Any], defined: Mapping[str, str], index: int | None) -> None:
        super().__init__(_NAMES)
        self._columns, self._defined, self._index = columns, defined, index

    def __missing__(self, name: str) -> Any:
        if name in self._defined:
            return self.of(self._defined[name])
        value = self._columns[name]
        return value if self._index is None or not name.startswith("C_") else value[self._index]

    def of(self, text: str) -> Any:
        with np.errstate(all="ignore"):
            return eval(_python(text), {}, self)


def choose(declared: Mapping[str, Any], events: Sequence[Mapping[str, Any]], normalisation: float, kind: str) -> Chosen:
    """Compute what a selection fills, with every variation.

    Parameters
    ----------
    declared : mapping
        As in the file; of ``weights`` and ``shapes`` those of the kind of the sample.
    events : sequence of mapping
        By name the columns of each, scalars or arrays of numpy of the types of the input.
    normalisation : float
        The weight of an event.
    kind : str
        That of the sample.
    """
    made = Chosen()
    for columns in events:
        nominal = _shaped(declared, columns, "", "")
        of = _choose_one(declared, nominal, kind)
        _fill(made, declared, nominal, of, normalisation, "")
        for name, shape in declared.get("shapes", {}).items():
            for tag in shape.get("variations", {}):
                varied = _shaped(declared, columns, name, tag)
                _fill(made, declared, varied, _choose_one(declared, varied, kind), normalisation, f"{name}:{tag}")
    return made


def _shaped(declared: Mapping[str, Any], columns: Mapping[str, Any], varied: str, tag: str) -> dict[str, Any]:
    """Return the columns with the nominal corrections, and one of the shapes varied."""
    result = dict(columns)
    for name, shape in declared.get("shapes", {}).items():
        word = shape["variations"][tag] if name == varied else shape.get("nominal")
        for column, text in shape["columns"].items() if word is not None else ():
            filled = text.replace("{variation}", word)
            values = [_Values(columns, declared["define"], i).of(filled) for i in range(len(columns[column]))]
            result[column] = np.array(values, columns[column].dtype)
    return result


def _choose_one(declared: Mapping[str, Any], columns: Mapping[str, Any], kind: str) -> Event:
    define, categories = declared.get("define", {}), declared.get("categories", {})
    size = len(next(value for name, value in columns.items() if name.startswith("C_")))
    of_event = _Values(columns, define, None)
    of = [_Values(columns, define, index) for index in range(size)]
    selections = ["inclusive", *categories]
    event = Event(dict.fromkeys(selections, 0), {name: [] for name in selections}, {}, [True] * size)
    for cut in declared.get("event", {}).values():
        if not of_event.of(cut):
            return event
        _reach(event, event.depth["inclusive"] + 1)
    if (match := declared.get("match")) and kind in match["kinds"]:
        event.matched = [bool(values.of(match["candidate"])) for values in of]
        if not any(event.matched):
            return event
        _reach(event, event.depth["inclusive"] + 1)
    first = event.depth["inclusive"]
    category: dict[int, str] = {}
    cuts = list(declared["preselection"].values())
    for index, values in enumerate(of):
        passed = next((n for n, cut in enumerate(cuts) if not values.of(cut)), len(cuts))
        _reach(event, first + passed)
        if passed < len(cuts):
            continue
        for name, own in categories.items():
            more = next((n for n, cut in enumerate(own.values()) if not values.of(cut)), len(own))
            event.depth[name] = max(event.depth[name], first + passed + more)
            if more == len(own):
                event.passing[name].append(index)
                category.setdefault(index, name)
        if declared.get("inclusive") != "categories":
            event.passing["inclusive"].append(index)
        elif index in category:
            event.passing["inclusive"].append(index)
            event.depth["inclusive"] = first + passed + 1
    for rule, declared_rule in declared["rules"].items():
        for name in selections:
            if name == "inclusive" or declared.get("choose") != "per event":
                _keep(event, rule, name, _best(declared_rule, of, event.passing[name]))
        if declared.get("choose") == "per event" and category:
            best = _best(declared_rule, of, sorted(category))
            assert best is not None
            _keep(event, rule, category[best], best)
    return event


def _reach(event: Event, depth: int) -> None:
    event.depth = {name: max(of, depth) for name, of in event.depth.items()}


def _keep(event: Event, rule: str, name: str, index: int | None) -> None:
    if index is not None:
        event.best[rule, name] = index


def _best(rule: Mapping[str, Any], of: Sequence[_Values], among: Sequence[int]) -> int | None:
    """Return the preferred one with the highest score, the first of equal ones; one that is not a number comes last."""

    def order(index: int) -> tuple[bool, bool, float, int]:
        score = float(of[index].of(rule["score"]))
        number = score == score
        prefer = bool(of[index].of(rule["prefer"])) if "prefer" in rule else True
        return prefer, number, score if number else 0.0, -index

    return max(among, key=order, default=None)


def _weights(declared: Mapping[str, Any], values: _Values, normalisation: float) -> Iterator[tuple[str, float]]:
    """Yield the weight of the event and of a candidate, nominal and with each variation of a factor."""
    factors = declared.get("weights", {})

    def product(name: str, tag: str) -> float:
        total = normalisation
        for of_candidate in (False, True):
            for other, factor in factors.items():
                if ("C_" in factor["expression"]) is of_candidate:
                    word = factor["variations"][tag] if other == name else factor["nominal"]
                    total = total * float(values.of(factor["expression"].replace("{variation}", word)))
        return total

    yield "", product("", "")
    for name, factor in factors.items():
        for tag in factor["variations"]:
            yield f"{name}:{tag}", product(name, tag)


def _fill(
    made: Chosen, declared: Mapping[str, Any], columns: Mapping[str, Any], event: Event, normalisation: float,
    shape: str,
) -> None:  # fmt: skip
    define, rules = declared.get("define", {}), list(declared["rules"])
    if not shape:
        _count(made, declared, columns, event, normalisation)
    row: dict[str, Any] = {"selection": [], "chosen": [], "multiplicity": [], "weight": []}
    for number, selection in enumerate(event.depth):
        index = event.chosen(rules[0], selection)
        if index is None:
            continue
        values = _Values(columns, define, index)
        for variation, weight in _weights(declared, values, normalisation):
            for histogram in declared.get("histograms", ()):
                name = f"{selection}_{histogram.get('name', histogram['column'].removeprefix('C_'))}"
                tags = [variation or "nominal"] if not shape else [shape] * (not variation)
                for tag in tags if histogram.get("varied") else ["nominal"] * (not shape and not variation):
                    made.fill(name, tag, values[histogram["column"]], weight)
            if not shape and not variation:
                row["weight"].append(weight)
        row["selection"].append(number)
        row["chosen"].append(index)
        row["multiplicity"].append(len(event.passing[selection]))
    if not shape and any(event.chosen(*key) is not None for key in event.best):
        made.rows.append({**row, "event": columns["event"]})


def _count(
    made: Chosen, declared: Mapping[str, Any], columns: Mapping[str, Any], event: Event, normalisation: float
) -> None:
    of_event = {name: f for name, f in declared.get("weights", {}).items() if "C_" not in f["expression"]}
    values = _Values(columns, declared.get("define", {}), None)
    weight = dict(_weights({"weights": of_event}, values, normalisation))[""]
    first = next(iter(declared["rules"]))
    for number, (selection, depth) in enumerate(event.depth.items()):
        flow, has_choice = made.flows.setdefault(selection, {}), event.chosen(first, selection) is not None
        for cut in (*range(depth + 1), *([-1] if has_choice else [])):
            events, sum_of, squares = flow.get(cut, (0, 0.0, 0.0))
            flow[cut] = events + 1, sum_of + weight, squares + weight * weight
        if has_choice:
            made.fill(f"candidates_{selection}", "nominal", len(event.passing[selection]), weight)
        for rule in declared["rules"]:
            index = event.best.get((rule, selection))
            if index is not None:
                made.fill(f"choices_{rule}", "nominal", number, weight)
                if "match" in declared and event.matched[index]:
                    made.fill(f"correct_{rule}", "nominal", number, weight)
