"""Tables of results as a HEPData submission, written with hepdata_lib and checked by HEPData's own validator."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import tarfile
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

import numpy as np

from portico.errors import InputError, MissingExtra, nearest
from portico.files.atomic import write_atomic
from portico.stats.limit import BANDS, Limit

__all__ = [
    "Column",
    "Interval",
    "Table",
    "Uncertainty",
    "exclusion_columns",
    "hepdata_submission",
    "limits_columns",
]

Interval = tuple[float, float]

_KEYWORDS: Final = ("cmenergies", "observables", "phrases", "reactions")
_OURS: Final = (".yaml", ".png")
_SUBMISSION: Final = "submission.yaml"
_THUMBNAIL: Final = (240, 179)  # pixels, at most
_MISSING: Final = "-"  # how HEPData writes that there is no value
_LONGEST: Final = 64  # characters of a name


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Uncertainties of a column: of each value a number, or (minus, plus) with their signs, or None."""

    label: str
    values: Sequence[float | Interval | None]


@dataclass(frozen=True, slots=True)
class Column:
    """A variable of a table.

    Attributes
    ----------
    name : str
    values : sequence of float, (float, float) or None
        Numbers, or bins as (low, high); None where there is no value.
    units : str
    independent : bool
        Whether the others are given as a function of it.
    uncertainties : tuple of Uncertainty
    qualifiers : mapping of str to str
        What holds for all its values, as ``{"SQRT(S)": "13000 GeV"}``; not of independent variables.
    """

    name: str
    values: Sequence[float | Interval | None]
    units: str = ""
    independent: bool = False
    uncertainties: tuple[Uncertainty, ...] = ()
    qualifiers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a submission.

    Attributes
    ----------
    name : str
        At most 64 letters, digits, blanks and ``_ - .``.
    description : str
    location : str
        Where it is in the paper, as ``"Figure 3"``.
    columns : tuple of Column
        All of one length.
    keywords : mapping of str to sequence of str
        ``cmenergies``, ``observables``, ``phrases``, ``reactions``.
    figure : Path, optional
        A PNG file, which is attached with a thumbnail.
    """

    name: str
    description: str
    location: str
    columns: tuple[Column, ...]
    keywords: Mapping[str, Sequence[str]] = field(default_factory=dict)
    figure: Path | None = None

    def __post_init__(self) -> None:
        where = f"table '{self.name}'"
        if len(self.name) > _LONGEST or not re.fullmatch(r"[A-Za-z0-9][\w .-]*", self.name, flags=re.ASCII):
            raise InputError(f"{where}: a name may have at most {_LONGEST} letters, digits, blanks and _ - .")
        for keyword in self.keywords:
            if keyword not in _KEYWORDS:
                raise InputError(f"{where}: HEPData has no keyword '{keyword}'; {nearest(keyword, _KEYWORDS)}")
        if not any(c.independent for c in self.columns) or all(c.independent for c in self.columns):
            raise InputError(f"{where} needs at least one independent column and one that is not")
        rows = len(self.columns[0].values)
        for column in self.columns:
            _check_column(where, column, rows)
        if self.figure is not None and (self.figure.suffix.lower() != ".png" or not self.figure.is_file()):
            raise InputError(f"{where}: {self.figure} is not a PNG file; HEPData takes PNG")


def _check_column(where: str, column: Column, rows: int) -> None:
    where = f"{where}, column '{column.name}'"
    if len(column.values) != rows or rows == 0:
        raise InputError(f"{where} has {len(column.values)} values, the first column {rows}; at least one is needed")
    if column.independent and (column.uncertainties or column.qualifiers):
        raise InputError(f"{where} is independent and must not have uncertainties or qualifiers")
    if len({isinstance(value, tuple) for value in column.values if value is not None}) > 1:
        raise InputError(f"{where} has numbers and bins; give only one of the two")
    for sequence in (column.values, *(uncertainty.values for uncertainty in column.uncertainties)):
        if len(sequence) != rows:
            raise InputError(f"{where} has {len(sequence)} uncertainties for {rows} values")
        for value in sequence:
            if value is not None and not np.all(np.isfinite(value)):
                raise InputError(f"{where}: {value} is not a number; leave it out with None")
    for uncertainty in column.uncertainties:
        kinds = {isinstance(value, tuple) for value in uncertainty.values if value is not None}
        lost = any(u is None and v is not None for u, v in zip(uncertainty.values, column.values, strict=True))
        if len(kinds) > 1 or (lost and kinds == {True}):  # hepdata_lib would write 0, or the same for all
            raise InputError(f"{where}: '{uncertainty.label}' has one number for some values, and two or none for "
                             "others; give two for each")  # fmt: skip


def limits_columns(
    limits: Sequence[Limit], quantity: str, units: str = "", *, qualifiers: Mapping[str, str] | None = None
) -> tuple[Column, ...]:
    """Return columns of upper limits: observed (not while blinded), and expected with bands of 1 and 2 sigma.

    Parameters
    ----------
    limits : sequence of Limit
    quantity, units : str
        What is limited.
    qualifiers : mapping of str to str
        See `Column`.
    """
    at = {n: BANDS.index(n) for n in BANDS}
    bands = tuple(
        Uncertainty(
            f"{n} sigma",
            [(e[at[-n]] - e[at[0]], e[at[n]] - e[at[0]]) for e in (limit.expected for limit in limits)],
        )
        for n in (1, 2)
    )
    observed = Column(f"Observed {quantity}", [limit.observed for limit in limits], units, qualifiers=qualifiers or {})
    median = [limit.median for limit in limits]
    expected = Column(f"Expected {quantity}", median, units, uncertainties=bands, qualifiers=qualifiers or {})
    return (observed, expected) if any(limit.observed is not None for limit in limits) else (expected,)


def exclusion_columns(
    independent: Column,
    excluded: Mapping[str, Sequence[Sequence[tuple[float | None, float | None]]]],
    quantity: str,
    units: str = "",
    *,
    qualifiers: Mapping[str, str] | None = None,
) -> tuple[Column, ...]:
    """Return columns of excluded intervals, with both edges.

    Parameters
    ----------
    independent : Column
        For example masses. One with several intervals has as many rows, one without has a row without edges.
    excluded : mapping of str to sequence of sequence of (float or None, float or None)
        By label, as ``"Observed"`` and ``"Expected"``: the intervals at each value of the independent variable. One
        edge may be None, where it is not known.
    quantity, units : str
        Of the edges.
    qualifiers : mapping of str to str
        See `Column`.

    Raises
    ------
    InputError
        If the numbers do not fit together, or an interval has no edge at all, as a value without intervals has none.
    """
    for label, intervals in excluded.items():
        if any(low is None and high is None for found in intervals for low, high in found):
            raise InputError(f"'{label}' has an interval without edges, which would look like none; give at least one")
        if len(intervals) != len(independent.values):
            raise InputError(
                f"'{label}' has {len(intervals)} entries for {len(independent.values)} of '{independent.name}'"
            )
    values: list[float | Interval | None] = []
    edges: dict[str, list[float | None]] = {f"{label} {side}": [] for label in excluded for side in ("lower", "upper")}
    for i, value in enumerate(independent.values):
        rows = max(1, *(len(intervals[i]) for intervals in excluded.values()))
        values += [value] * rows
        for label, intervals in excluded.items():
            for row in range(rows):
                low, high = intervals[i][row] if row < len(intervals[i]) else (None, None)
                edges[f"{label} lower"].append(low)
                edges[f"{label} upper"].append(high)
    columns = [
        Column(f"{label} edge of excluded {quantity}", numbers, units, qualifiers=qualifiers or {})
        for label, numbers in edges.items()
    ]
    return Column(independent.name, values, independent.units, independent=True), *columns


def hepdata_submission(folder: Path, tables: Sequence[Table], *, abstract: str = "", digits: int = 6) -> Path:
    """Write a submission: ``submission.yaml``, a file for each table, figures, and all of it in ``<folder>.tar.gz``.

    The same tables give the same bytes. An earlier submission in the folder is replaced.

    Parameters
    ----------
    folder : Path
    tables : sequence of Table
    abstract : str
    digits : int
        Significant digits of numbers; 17 keep them as they are.

    Returns
    -------
    Path
        The archive.

    Raises
    ------
    MissingExtra
        If hepdata_lib is not installed.
    InputError
        If two tables have one name, there is something else in the folder, or HEPData's validator finds a fault.
    """
    library = _library()
    files = [_file_name(table) for table in tables]
    if not tables or len(set(files)) < len(files):
        raise InputError(f"{folder}: a submission has tables with different names: {', '.join(files) or 'none given'}")
    there = list(folder.iterdir()) if folder.exists() else []
    if any(p.suffix not in _OURS for p in there) or (there and folder / _SUBMISSION not in there):
        raise InputError(f"{folder}: has files that are not part of a submission; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".hepdata") as name:
        aside = Path(name) / "submission"
        aside.mkdir()
        _write(library, aside, tables, abstract, digits)
        _validate(aside)
        if folder.exists():
            shutil.rmtree(folder)
        aside.rename(folder)
    archive = folder.with_name(f"{folder.name}.tar.gz")
    with write_atomic(archive) as path:
        path.write_bytes(_archive(folder))
    return archive


def _library() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what its own dependencies are to change
            import hepdata_lib
    except ImportError as error:
        raise MissingExtra("hepdata", "writing a HEPData submission") from error
    return cast(ModuleType, hepdata_lib)


def _file_name(table: Table) -> str:
    return table.name.lower().replace(" ", "_")  # as hepdata_lib does


def _write(library: ModuleType, folder: Path, tables: Sequence[Table], abstract: str, digits: int) -> None:
    # Submission.create_files would write its archive into the working directory and call a shell for figures.
    import yaml

    submission = library.Submission()
    head = {
        "additional_resources": submission.additional_resources,
        "comment": abstract,
        "data_license": submission.get_license(),
    }
    text = yaml.safe_dump(head, explicit_start=True, default_flow_style=False)
    (folder / _SUBMISSION).write_text(text, encoding="utf-8")
    for table in tables:
        made = library.Table(table.name)
        made.description, made.location = table.description, table.location
        made.keywords = {name: [str(value) for value in values] for name, values in sorted(table.keywords.items())}
        if table.figure is not None:
            _attach(made, table.figure, folder, _file_name(table))
        for column in table.columns:
            made.add_variable(_variable(library, column, digits))
        made.write_yaml(str(folder))


def _variable(library: ModuleType, column: Column, digits: int) -> Any:
    binned = any(isinstance(value, tuple) for value in column.values)
    missing = (_MISSING, _MISSING) if binned else _MISSING
    variable = library.Variable(
        column.name,
        is_independent=column.independent,
        is_binned=binned,
        units=column.units,
        values=[missing if value is None else _plain(value) for value in column.values],
        zero_uncertainties_warning=False,
    )
    variable.digits = digits
    for name, text in column.qualifiers.items():
        variable.add_qualifier(name, text)
    for uncertainty in column.uncertainties:
        symmetric = not any(isinstance(value, tuple) for value in uncertainty.values)
        made = library.Uncertainty(uncertainty.label, is_symmetric=symmetric)
        made.values = [0.0 if value is None and not symmetric else _plain(value) for value in uncertainty.values]
        variable.add_uncertainty(made)
    return variable


def _plain(value: Any) -> Any:
    """Numbers of Python: those of numpy are written in another way."""
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    if value is None or isinstance(value, str):
        return value
    return int(value) if isinstance(value, (int, np.integer)) else float(value)


def _attach(table: Any, figure: Path, folder: Path, name: str) -> None:
    from PIL import Image  # comes with matplotlib

    shutil.copyfile(figure, folder / f"{name}.png")
    with Image.open(figure) as image:
        image.thumbnail(_THUMBNAIL)
        image.save(folder / f"thumb_{name}.png")
    table.add_additional_resource("Image file", f"{name}.png")
    table.add_additional_resource("Thumbnail image file", f"thumb_{name}.png")


def _validate(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it leaves files open, and its dependencies are deprecated
        from hepdata_validator.full_submission_validator import (  # type: ignore[import-untyped]
            FullSubmissionValidator,
        )

        validator = FullSubmissionValidator(autoload_remote_schemas=False)  # with the schemas that it brings
        valid = validator.validate(directory=str(folder))
    if not valid:
        found = [message.message for name in validator.messages for message in validator.get_messages(name)]
        raise InputError(f"HEPData would refuse the submission: {'; '.join(found)}")


def _archive(folder: Path) -> bytes:
    """All files of a folder in a tar.gz without times and owners."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for file in sorted(folder.iterdir()):
            content = file.read_bytes()
            entry = tarfile.TarInfo(file.name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
