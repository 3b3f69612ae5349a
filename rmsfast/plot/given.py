"""What is drawn, read from what the caller gives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numba.core.ccallback import CFunc
from scipy.optimize import OptimizeResult

from rmsfast.objective import check_value
from rmsfast.objectives import Classical


def labelled(results: Any, name: str) -> list[tuple[str, str, Any]]:
    """Return each result with its label, and the words by which an error calls it."""
    if isinstance(results, OptimizeResult):  # which is a mapping, too
        return [("", name, results)]
    results = getattr(results, "results", results)  # of a Comparison
    if isinstance(results, Mapping):
        runs = [(str(key), f"{name}[{key!r}]", run) for key, run in results.items()]
    elif isinstance(results, (list, tuple)):
        runs = [(f"run {k + 1}", f"{name}[{k}]", run) for k, run in enumerate(results)]
    else:
        runs = [("", name, results)]
    if not runs:
        raise ValueError(f"{name} must hold at least one result, got {results!r}")
    return runs


def check_result(name: str, result: Any) -> None:
    """Raise TypeError if it is no result of a minimization."""
    if not isinstance(result, OptimizeResult):
        raise TypeError(f"{name} must be an OptimizeResult, got {type(result).__name__}")


def iterates(name: str, result: Any) -> np.ndarray:
    """Return the iterates of a result, shape ``(k, n)``."""
    check_result(name, result)
    if "allvecs" not in result:
        advice = "minimize with options={'return_all': True}"
        if "loss" in result:
            advice = "minimize_minibatch keeps none; plot.learning_curve draws its losses"
        raise ValueError(f"{name} has no allvecs: {advice}")
    path = numbers(f"{name}.allvecs", result.allvecs)
    if path.ndim != 2 or path.size == 0:
        raise ValueError(f"{name}.allvecs must have shape (k, n), got shape {path.shape}")
    return path


def values_at(fun: Any, points: Iterable[np.ndarray], args: Any) -> np.ndarray:
    """Return the values of `fun` at points; it may return its gradient beside them."""
    if not callable(fun) or isinstance(fun, CFunc):
        raise TypeError(f"fun must be callable as fun(x, *args), got {fun!r}")
    if not isinstance(args, tuple):
        args = (args,)
    values = []
    with np.errstate(all="ignore"):
        for x in points:
            value = fun(x.copy(), *args)
            values.append(check_value(value[0] if isinstance(value, (tuple, list)) else value))
    return np.array(values)


def numbers(name: str, values: Any) -> np.ndarray:
    """Return real numbers as a new array of float64."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of several lengths
        array = np.asarray(None)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got {values!r}")
    return array.astype(np.float64)


def series(name: str, values: Any) -> np.ndarray:
    """Return real numbers of shape ``(k,)``, k > 0."""
    array = numbers(name, values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must have shape (k,), k > 0, got shape {array.shape}")
    return array


def known_minimum(fun: Any, n: int) -> Any:
    """Return the minimum of a function of `rmsfast.objectives` in `n` variables, else None."""
    known = isinstance(fun, Classical) and n in fun.sizes
    return fun.of_size(n).minimum if known else None


def lowest_known(fun: Any, n: int) -> float | None:
    """Return the lowest value of a function of `rmsfast.objectives` in `n` variables, if known."""
    known = known_minimum(fun, n)
    return None if known is None or math.isnan(known.fun) else known.fun
