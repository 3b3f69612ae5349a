"""Objectives that are sums of terms: value and gradient on one thread or on all."""

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.extending import is_jitted

from rmsfast.core.drivers import borrow
from rmsfast.core.jit import cached_by_value, jit_closure

BLOCK = 4096  # terms of a partial sum: fixed, so that threads do not change its bits


@functools.lru_cache(maxsize=256)
def scalar(function: Callable[..., Any]) -> Any:
    """Return a function of one term, compiled so that LLVM merges it into the loop over all.

    Called, it takes 20 ns per term, most of it to count the references to `x`.

    Parameters
    ----------
    function : callable
        A Python function, or one compiled by Numba, whose options are kept.
    """
    compiled: Any = function
    options: dict[str, Any] = {"nopython": True, "error_model": "numpy"}
    if is_jitted(function):
        options, function = compiled.targetoptions, compiled.py_func
        if options.get("forceinline"):
            return compiled
    return numba.jit(**{**options, "forceinline": True})(function)


@functools.lru_cache(maxsize=64)
def _block(term: Any, grad: Any) -> Any:
    """Return the function of one block: it writes its gradient, and returns its value."""

    def block(x: np.ndarray, g: np.ndarray, k: int, args: Any) -> float:
        f = 0.0
        # max: LLVM learns that i is not negative, which saves a comparison in each ``x[i]``
        for i in range(max(k * BLOCK, 0), min((k + 1) * BLOCK, x.size)):
            f += term(i, x, *args)
            g[i] = grad(i, x, *args)
        return f

    return jit_closure(block, forceinline=True)


@functools.lru_cache(maxsize=64)
def total(term: Any, grad: Any, signature: Any, parallel: bool) -> Any:
    """Compile value and gradient of a sum of terms.

    Parameters
    ----------
    term, grad : Dispatcher
        ``term(i, x, *args)``, and the derivative of the sum by ``x[i]``; of `scalar`.
    signature : Signature
        Of ``f = run(x, g, args)``.
    parallel : bool
        Whether the blocks run on threads of their own; the bits are the same.

    Returns
    -------
    Dispatcher
        Compiled for `signature` alone.
    """
    block = _block(term, grad)

    def run(x: np.ndarray, g: np.ndarray, args: Any) -> float:
        blocks = (x.size + BLOCK - 1) // BLOCK
        if blocks == 1:
            return block(borrow(x), borrow(g), 0, args)
        sums = np.empty(blocks)
        for k in numba.prange(blocks):
            sums[k] = block(borrow(x), borrow(g), k, args)
        f = 0.0
        for k in range(blocks):
            f += sums[k]
        return f

    modules = [function.py_func.__module__ for function in (term, grad)]
    compiled = cached_by_value(jit_closure(run, parallel=parallel), term, grad, modules, parallel)
    try:
        compiled.compile(signature)
    except ImportError:  # what is on disk names a module that is no longer there
        compiled = jit_closure(run, parallel=parallel)
        compiled.compile(signature)
    compiled.disable_compile()
    return compiled


@functools.lru_cache(maxsize=64)
def in_place(term: Any, grad: Any) -> Any:
    """Return the objective ``f = fun(x, g, *args)`` for compiled callers, on one thread."""
    block = _block(term, grad)

    def fun(x: np.ndarray, g: np.ndarray, *args: Any) -> float:
        f = 0.0
        for k in range((x.size + BLOCK - 1) // BLOCK):
            f += block(x, g, k, args)
        return f

    return jit_closure(fun)
