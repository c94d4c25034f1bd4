"""The keys of a ``selection.yaml``.

Expressions are C++ with columns, definitions and constants. A column that begins with the prefix of candidates has one
element per candidate, and an expression with such columns is evaluated for one candidate at a time, with scalars of the
columns' own types: a float column is compared with a double literal, as in a compiled loop. Columns of the event keep
their types, scalars or vectors. Backquotes enclose the name of a column that C++ would read otherwise. ``sample.NAME``
is a numeric parameter of the sample.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from portico.config import Model, parse
from portico.corrections import Correction, Lookup
from portico.cpp import KEYWORDS

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
]

INCLUSIVE = "inclusive"
"""Name of the selection without cuts of its own: that of all candidates, or of those that are in any category."""

Kind = Literal["data", "signal", "background"]
_ALL: tuple[Kind, ...] = ("data", "signal", "background")
_SIMULATED: tuple[Kind, ...] = ("signal", "background")
_NAME = re.compile(r"[A-Za-z_]\w*")


def _named_tags(variations: dict[str, str]) -> dict[str, str]:
    for tag in variations:
        if not tag.strip() or tag == "nominal":
            raise ValueError(f"a variation cannot be named '{tag}'; give it another name, such as 'up'")
    return variations


class Listed(Model):
    """Words for which an expression is repeated.

    Parameters
    ----------
    values : tuple of str
        The words, in order.
    missing : {"refuse", "skip"}
        Treatment of words without columns in the input: an error, or left out.
    """

    values: tuple[str, ...] = Field(min_length=1)
    missing: Literal["refuse", "skip"] = "refuse"


class Definition(Model):
    """A derived quantity.

    Parameters
    ----------
    expression : str
        C++. With ``each``, ``{LIST}`` stands for a word of that list.
    each : str, optional
        A list; the expressions for all its words are joined.
    join : str
        The operator that joins them.
    """

    expression: str
    each: str | None = None
    join: Literal["||", "&&", "|", "&", "+", "*"] = "||"


class Match(Model):
    """Matching of candidates with the generated decay.

    Events without a matched candidate are dropped, and so is a chosen candidate that is not matched.

    Parameters
    ----------
    candidate : str
        Condition that a matched candidate fulfils.
    kinds : tuple of str
        Kinds of samples that are matched.
    """

    candidate: str
    kinds: tuple[Kind, ...] = ("signal",)


class Rule(Model):
    """A best-candidate rule: the highest score wins, the first of equal scores; not-a-number loses against all.

    Parameters
    ----------
    score : str
        Expression of a number.
    prefer : str, optional
        Condition; candidates that fulfil it come before all others, whatever their score.
    enabled : bool
        Whether it is used, unless an option says otherwise.
    """

    score: str
    prefer: str | None = None
    enabled: bool = True


class Weight(Model):
    """A factor of the weight.

    Parameters
    ----------
    expression : str
        Expression of a number. ``{variation}`` stands for the word of a variation.
    nominal : str
        The word of the nominal weight.
    variations : mapping of str to str
        From the name of each variation to its word.
    kinds : tuple of str
        Kinds of samples with this factor.
    enabled : bool
        Whether it is used, unless an option says otherwise.
    """

    expression: str
    nominal: str = "nominal"
    variations: dict[str, str] = Field(default_factory=dict)
    kinds: tuple[Kind, ...] = _SIMULATED
    enabled: bool = True

    _tags = field_validator("variations")(_named_tags)

    @model_validator(mode="after")
    def _uses_variations(self) -> Weight:
        if self.variations and "{variation}" not in self.expression:
            raise ValueError("has variations, but no {variation} in its expression; write it where they differ")
        return self


class Shape(Model):
    """Corrected or varied values of input columns, such as a momentum scale; they may change the selection.

    Parameters
    ----------
    columns : mapping of str to str
        From each column to its value, with ``{variation}`` for a word; all columns have the same type.
    nominal : str, optional
        The word of the nominal value. By default the nominal value is the input's.
    variations : mapping of str to str
        From the name of each variation to its word.
    kinds : tuple of str
        Kinds of samples with this shape.
    enabled : bool
        Whether it is used, unless an option says otherwise.
    """

    columns: dict[str, str] = Field(min_length=1)
    nominal: str | None = None
    variations: dict[str, str] = Field(default_factory=dict)
    kinds: tuple[Kind, ...] = _SIMULATED
    enabled: bool = True

    _tags = field_validator("variations")(_named_tags)

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
        A column or a definition. With ``each``, ``{LIST}`` here and in ``title`` and ``name`` stands for a word.
    bins, range : int, (float, float)
        Number and range of bins with equal width; or give ``edges``.
    edges : tuple of float
        Edges of the bins.
    title : str
        Title of the axis.
    name : str, optional
        Products are named SELECTION_NAME; by default NAME is the column without the prefix of candidates.
    each : str, optional
        A list; there is one histogram for each of its words.
    kinds : tuple of str
        Kinds of samples for which it is filled.
    varied : bool
        Whether it is also filled for every variation.
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
        if not all(low < high for low, high in itertools.pairwise(edges)):
            raise ValueError("edges of bins must increase")
        if self.edges is None and not all(map(math.isfinite, edges)):
            raise ValueError("equal bins need a finite range; give edges for bins without an end")
        return self

    def edges_of(self) -> tuple[float, ...]:
        """Return the edges of the bins, or the two ends of the range of equal bins."""
        return self.edges or self.range or ()


class Output(Model):
    """The tree of chosen candidates.

    Parameters
    ----------
    columns : tuple of str
        Columns and definitions, with ``*`` as wildcard.
    simulation : tuple of str
        Further ones, in simulation only.
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
    """A selection. The order of mappings matters; the module's docstring describes expressions.

    Parameters
    ----------
    candidates : str
        Prefix of the columns with one element per candidate.
    key : tuple of str
        Columns that identify an event: run, luminosity block and event. They are written as unsigned integers.
    lists, constants, define : mapping
        Names that expressions may use besides columns.
    corrections, lookups : mapping
        Functions that expressions may call.
    event : mapping of str to str
        Cuts on the event, by their label in the cutflow.
    match : Match, optional
        Matching with the generated decay.
    preselection : mapping of str to str
        Cuts on a candidate, by their label.
    categories : mapping of str to mapping
        Further cuts on a candidate for each category.
    choose : {"per category", "per event"}
        ``per event``: the candidates that are in any category compete, one is chosen, and the event is in the category
        of that candidate, the first one if it passes the cuts of several. ``per category``: each category chooses among
        its own candidates, and an event may be in several categories.
    inclusive : {"preselection", "categories"}
        Among which candidates the selection ``inclusive`` chooses: all that pass the preselection, or those that are
        in any category.
    rules : mapping of str to Rule
        Rules that choose a candidate. The first one that is enabled is used for tree and histograms; the others are for
        comparison, and left out for a sample without their columns.
    weights : mapping of str to Weight
        Factors of the weight besides the normalisation.
    shapes : mapping of str to Shape
        Corrections of columns and their variations.
    histograms : tuple of Histogram
        The histograms to fill.
    output : Output, optional
        The tree to write.
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
    choose: Literal["per category", "per event"] = "per category"
    inclusive: Literal["preselection", "categories"] = "preselection"
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
                raise ValueError(f"'{name}' is not a valid name; use letters, digits and _")
        return value

    @field_validator("constants")
    @classmethod
    def _numbers(cls, value: dict[str, int | float]) -> dict[str, int | float]:
        for name, number in value.items():
            if math.isnan(number) or (isinstance(number, int) and abs(number) >= 2**63):
                raise ValueError(f"'{name}' is {number}; valid: integers of 64 bits, such as 41, and numbers like 41.6")
        return value

    @field_validator("corrections", "lookups")
    @classmethod
    def _functions(cls, value: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(KEYWORDS & value.keys()):
            raise ValueError(f"'{taken[0]}' is a C++ keyword; use another name")
        return value

    @model_validator(mode="after")
    def _unique(self) -> Selection:
        if INCLUSIVE in self.categories:
            raise ValueError(f"no category may be named '{INCLUSIVE}', the name of the preselection without categories")
        seen: dict[str, str] = {}
        for group in ("constants", "define", "corrections", "lookups"):
            for name in getattr(self, group):
                if name in seen:
                    raise ValueError(f"'{name}' is in both {seen[name]} and {group}")
                seen[name] = group
        for name in self.weights.keys() & self.shapes.keys():
            if twice := self.weights[name].variations.keys() & self.shapes[name].variations.keys():
                raise ValueError(
                    f"the variation '{name}:{min(twice)}' is both that of a weight and of a shape; rename one of them"
                )
        if not any(rule.enabled for rule in self.rules.values()):
            raise ValueError(f"no rule is enabled, and one must choose; there are {', '.join(self.rules)}")
        if self.inclusive == "categories" and not self.categories:
            raise ValueError("inclusive: 'categories' needs categories; without them write 'preselection'")
        return self

    def replace(self, **fields: Any) -> Selection:
        """Return a copy with some fields replaced, validated like a file."""
        return parse(Selection, {**self.model_dump(exclude_unset=True), **fields}, "selection")
