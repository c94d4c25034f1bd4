"""Steps over points, on the worker: plain Python, called for one point of a chunk after the other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from portico.errors import InputError, StepError
from portico.results.kinds import ProductKind
from portico.results.product import Product
from portico.worker.frame import Timing
from portico.worker.task import Task

__all__ = ["list_points", "run_points"]

_SHOWN = 200  # letters of a point in a message


def run_points(function: Callable[..., Any], task: Task) -> tuple[dict[str, Product], Timing]:
    """Call a step for each point of a chunk.

    Returns
    -------
    products : dict of str to Product
        ``points`` and ``values``: lists of one length.
    timing : Timing
        ``loop`` is the time in the function.

    Raises
    ------
    StepError
        If a value cannot be saved as JSON, or the function cannot read what it needs: a point has no file that could be
        left out.
    """
    values, began, points = [], time.perf_counter(), task.points or ()
    for number, point in enumerate(points, task.chunk.first):
        try:
            values.append(_plain(function(point, **task.options), "the value"))
        except InputError as error:
            failure = StepError(str(error)).with_traceback(error.__traceback__)
            failure.add_note(_name(number, point))
            raise failure from error
        except Exception as error:
            error.add_note(_name(number, point))
            raise
    products = {
        "points": Product(ProductKind.LIST, {}, {}, points),
        "values": Product(ProductKind.LIST, {}, {}, tuple(values)),
    }
    return products, Timing(loop=time.perf_counter() - began)


def list_points(function: Callable[..., Any], options: Mapping[str, Any]) -> list[Any]:
    """Call the function that returns the points of a step.

    Raises
    ------
    StepError
        If it returns no list, or one that cannot be saved as JSON.
    """
    listed = _plain(function(**options), "the list of points")
    if not isinstance(listed, list):
        raise StepError(f"returned a {type(listed).__name__}; return a list of points")
    return listed


def _plain(value: Any, what: str) -> Any:
    """Return a value as it is after it was written as JSON; floats stay as they are, also those that are not finite."""
    try:
        return json.loads(json.dumps(value, default=_without_numpy))
    except (TypeError, ValueError) as error:
        raise StepError(f"{what} cannot be saved as JSON: {error}") from error


def _without_numpy(value: object) -> object:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is neither number, text, list nor mapping")


def _name(number: int, point: Any) -> str:
    text = json.dumps(point)
    return f"at point {number}, {text if len(text) <= _SHOWN else text[:_SHOWN] + ' ...'}"
