"""Steps over points on the worker: plain Python, called for each point of a chunk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from portico.errors import InputError, StepError
from portico.results.product import Product, ProductKind
from portico.worker.frame import Timing
from portico.worker.opened import expect
from portico.worker.task import Task

__all__ = ["list_points", "run_points"]

_SHOWN = 200  # characters of a point in a message


def run_points(function: Callable[..., Any], task: Task) -> tuple[dict[str, Product], Timing]:
    """Call a step for each point of a chunk.

    Returns
    -------
    products : dict of str to Product
        ``points`` and ``values``: lists of the same length.
    timing : Timing
        ``loop`` is the time in the function.

    Raises
    ------
    StepError
        If a value cannot be saved as JSON, or if the function cannot read a file: a point has no input file that a
        partial run could leave out.
    """
    expect(task.options.values())
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
        If it does not return a list, or if the list cannot be saved as JSON.
    """
    expect(options.values())
    listed = _plain(function(**options), "the list of points")
    if not isinstance(listed, list):
        raise StepError(f"returned a {type(listed).__name__}; return a list of points")
    return listed


def _plain(value: Any, what: str) -> Any:
    """Return a value as read back from JSON; floats are unchanged, including those that are not finite."""
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
