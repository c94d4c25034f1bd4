"""What a ``selection.yaml`` may say.

Expressions are C++ over columns, definitions and constants. A column that begins with the prefix of candidates has one
element per candidate, and an expression over such columns is evaluated for one candidate at a time, with scalars of the
columns' own types: a float column is compared with a double literal, as a compiled loop would. Columns of the event are
what they are, scalars or vectors. ``sample.NAME`` is a numeric parameter of the sample.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from portico.config import Model, parse, read_yaml
from portico.corrections import Correction, Lookup
from portico.errors import ConfigError, nearest

__all__ = [
    "INCLUSIVE",
    "Definition",
    "Histogram",
    "Kind",
    "Listed",
    "Match",
    "Output",
    "Rule",
    "Selection",
    "Shape",
    "Weight",
    "load_selection",
]

INCLUSIVE = "inclusive"
"""Name of the selection that is the preselection alone."""

Kind = Literal["data", "signal", "background"]
_ALL: tuple[Kind, ...] = ("data", "signal", "background")
_SIMULATED: tuple[Kind, ...] = ("signal", "background")
_NAME = re.compile(r"[A-Za-z_]\w*")


class Listed(Model):
    """Words for which an expression is repeated, and what to do where the input lacks columns of one of them."""

    values: tuple[str, ...] = Field(min_length=1)
    missing: Literal["refuse", "skip"] = "refuse"


class Definition(Model):
    """A derived quantity.

    Parameters
    ----------
    expression : str
        C++. With ``each``, ``{LIST}`` in it stands for a word of that list.
    each : str, optional
        A list; the expressions of all its words are joined.
    join : str
        The operator between them.
    """

    expression: str
    each: str | None = None
    join: Literal["||", "&&", "|", "&", "+", "*"] = "||"


class Match(Model):
    """Which candidates are the generated ones.

    Events without one are dropped, and so is a chosen candidate that is not one.
    """

    candidate: str
    kinds: tuple[Kind, ...] = ("signal",)


class Rule(Model):
    """A best-candidate rule: the highest score wins, of equal scores the first; not-a-number loses against all.

    Parameters
    ----------
    score : str
        A number.
    prefer : str, optional
        Candidates for which this holds come before all others, whatever their score.
    """

    score: str
    prefer: str | None = None


class Weight(Model):
    """A factor of the weight.

    Parameters
    ----------
    expression : str
        A number. ``{variation}`` in it stands for the word of a variation.
    nominal : str
        The word of the nominal weight.
    variations : mapping of str to str
        Name of each variation to its word.
    kinds : tuple of str
        Of the samples that it applies to.
    """

    expression: str
    nominal: str = "nominal"
    variations: dict[str, str] = Field(default_factory=dict)
    kinds: tuple[Kind, ...] = _SIMULATED

    @model_validator(mode="after")
    def _has_place(self) -> Weight:
        if self.variations and "{variation}" not in self.expression:
            raise ValueError("has variations, but its expression has no {variation} in which they differ")
        return self


class Shape(Model):
    """Other values of input columns, which may change the selection: a momentum scale for example.

    Parameters
    ----------
    columns : mapping of str to str
        Column to its value, with ``{variation}`` for a word; all columns of one type.
    nominal : str, optional
        The word of the nominal value. Without it the nominal value is the input's.
    variations : mapping of str to str
        Name of each variation to its word.
    kinds : tuple of str
        Of the samples that it applies to.
    """

    columns: dict[str, str] = Field(min_length=1)
    nominal: str | None = None
    variations: dict[str, str] = Field(default_factory=dict)
    kinds: tuple[Kind, ...] = _SIMULATED

    @model_validator(mode="after")
    def _has_effect(self) -> Shape:
        if self.nominal is None and not self.variations:
            raise ValueError("changes nothing; give a nominal word, variations, or both")
        return self


class Histogram(Model):
    """A histogram, filled in every selection with the chosen candidate.

    Parameters
    ----------
    column : str
        A column or a definition. With ``each``, ``{LIST}`` in it and in ``title`` and ``name`` stands for a word.
    bins, range : int, (float, float)
        Bins of equal width. Or:
    edges : tuple of float
        Edges of the bins.
    title : str
        Of the axis.
    name : str, optional
        The product is SELECTION_NAME; by default the column without the prefix of candidates.
    each : str, optional
        A list; one histogram for each of its words.
    kinds : tuple of str
        Of the samples for which it is filled.
    varied : bool
        Whether it is filled for variations as well.
    """

    column: str
    bins: int | None = Field(default=None, gt=0)
    range: tuple[float, float] | None = None
    edges: tuple[float, ...] | None = Field(default=None, min_length=2)
    title: str = ""
    name: str | None = None
    each: str | None = None
    kinds: tuple[Kind, ...] = _ALL
    varied: bool = False

    @model_validator(mode="after")
    def _has_binning(self) -> Histogram:
        if (self.edges is None) == (self.bins is None or self.range is None):
            raise ValueError("give either bins and range, or edges")
        edges = self.edges or self.range or ()
        if any(low >= high for low, high in itertools.pairwise(edges)):
            raise ValueError("edges of bins must increase")
        return self

    def edges_of(self) -> tuple[float, ...]:
        """Edges of the bins, or the two ends of equal ones."""
        return self.edges or self.range or ()


class Output(Model):
    """The tree of chosen candidates.

    Parameters
    ----------
    columns : tuple of str
        Columns and definitions; ``*`` stands for any letters of a column.
    simulation : tuple of str
        The same, in simulation only.
    formats : tuple of str
        ``rntuple`` (tree ``candidates``), ``ttree`` (tree ``candidates_ttree``), or both.
    """

    columns: tuple[str, ...] = Field(min_length=1)
    simulation: tuple[str, ...] = ()
    formats: tuple[Literal["rntuple", "ttree"], ...] = Field(default=("rntuple",), min_length=1)


def _listed(value: object) -> object:
    return {"values": value} if isinstance(value, (list, tuple)) else value


def _defined(value: object) -> object:
    return {"expression": str(value)} if isinstance(value, (str, int, float)) else value


class Selection(Model):
    """A selection. Mappings are in order; every expression is C++ as this module says.

    Parameters
    ----------
    candidates : str
        Prefix of the columns that have one element per candidate.
    key : tuple of str
        Columns that name an event: run, luminosity block and event. Written as unsigned integers whatever they are.
    lists, constants, define : mapping
        What expressions may use besides columns.
    corrections, lookups : mapping
        Functions that expressions may call.
    event : mapping of str to str
        Cuts on the event, by their label in the cutflow.
    match : Match, optional
        Matching with the generator.
    preselection : mapping of str to str
        Cuts on a candidate, by their label.
    categories : mapping of str to mapping
        Further cuts on a candidate for each category.
    rules : mapping of str to Rule
        How one candidate is chosen in each selection. The first is that of tree and histograms, the others run beside
        it.
    weights : mapping of str to Weight
        Factors of the weight besides the normalisation.
    shapes : mapping of str to Shape
        Corrections of columns and their variations.
    histograms : tuple of Histogram
        What is filled.
    output : Output, optional
        The tree that is written.
    """

    candidates: str = Field(default="C_", pattern=_NAME.pattern)
    key: tuple[str, str, str] = ("run", "lumi", "event")
    lists: dict[str, Annotated[Listed, BeforeValidator(_listed)]] = Field(default_factory=dict)
    constants: dict[str, int | float] = Field(default_factory=dict)
    define: dict[str, Annotated[Definition, BeforeValidator(_defined)]] = Field(default_factory=dict)
    corrections: dict[str, Correction] = Field(default_factory=dict)
    lookups: dict[str, Lookup] = Field(default_factory=dict)
    event: dict[str, str] = Field(default_factory=dict)
    match: Match | None = None
    preselection: dict[str, str] = Field(min_length=1)
    categories: dict[str, dict[str, str]] = Field(default_factory=dict)
    rules: dict[str, Rule] = Field(min_length=1)
    weights: dict[str, Weight] = Field(default_factory=dict)
    shapes: dict[str, Shape] = Field(default_factory=dict)
    histograms: tuple[Histogram, ...] = ()
    output: Output | None = None

    @field_validator("lists", "constants", "define", "corrections", "lookups", "rules", "weights", "shapes",
                     "categories")  # fmt: skip
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"'{name}' is no name; use letters, digits and _")
        return value

    @model_validator(mode="after")
    def _unique(self) -> Selection:
        if INCLUSIVE in self.categories:
            raise ValueError(f"no category may be named '{INCLUSIVE}', which is the preselection alone")
        seen: dict[str, str] = {}
        for group in ("constants", "define", "corrections", "lookups"):
            for name in getattr(self, group):
                if name in seen:
                    raise ValueError(f"'{name}' is in both {seen[name]} and {group}")
                seen[name] = group
        return self

    def replace(self, **fields: Any) -> Selection:
        """Return a copy with other fields, checked like a file."""
        return parse(Selection, {**self.model_dump(exclude_unset=True), **fields}, "selection")


def load_selection(path: str | Path, cuts: Mapping[str, str] | None = None) -> Selection:
    """Read a selection.

    Parameters
    ----------
    path : str or Path
        The YAML file.
    cuts : mapping of str to str, optional
        Expressions in place of those in the file: ``preselection/NAME`` or ``CATEGORY/NAME`` to the expression.

    Raises
    ------
    ConfigError
        If the file is missing or wrong: it names the key, what is valid and the nearest valid key. If a cut to be
        changed is not there.
    """
    path = Path(path)
    selection = parse(Selection, read_yaml(path), str(path))
    if not cuts:
        return selection
    groups = {"preselection": dict(selection.preselection), **{n: dict(c) for n, c in selection.categories.items()}}
    for name, expression in cuts.items():
        group, _, cut = name.partition("/")
        if cut not in groups.get(group, {}):
            valid = [f"{group}/{cut}" for group, cuts in groups.items() for cut in cuts]
            raise ConfigError(f"{path}: no cut '{name}'; {nearest(name, valid)}")
        groups[group][cut] = expression
    changed = {"preselection": groups.pop("preselection"), "categories": groups}
    return parse(Selection, {**selection.model_dump(), **changed}, f"{path} with changed cuts")
