"""The jit policy: how every compiled function of rmsfast is compiled, and why.

``error_model="numpy"``
    Division by zero gives inf or nan instead of raising. Without the branch to
    the exception LLVM vectorises the update loop: 7.7 times faster at 1e7
    float64 elements.
``fastmath`` (off)
    It adds nothing to these loops, and it lets LLVM assume that no NaN occurs,
    which breaks the checks for non-finite values.
``nogil=True``
    Compiled code touches no Python object, so other threads may run.
``cache=True``
    Compiled code is kept on disk and a second process compiles nothing. Set the
    environment variable ``RMSFAST_CACHE=0`` before the import to switch it off,
    for example where the file system is read-only.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import numba

CACHE = os.environ.get("RMSFAST_CACHE", "1") != "0"


def jit(function: Callable[..., Any]) -> Any:
    """Compile `function` lazily, one machine code per tuple of argument types."""
    return numba.njit(error_model="numpy", nogil=True, cache=CACHE)(function)


@functools.cache
def specialise(function: Callable[..., Any], signature: Any, parallel: bool = False) -> Any:
    """Compile `function` for exactly `signature`, once.

    With an explicit signature a jitted argument is passed as a first-class
    function: the machine code is shared by all objectives of one signature and
    is found on disk by the next process. (A lazily compiled function is
    specialised on the objective itself, and never found again.)
    """
    return numba.njit(
        signature, error_model="numpy", nogil=True, cache=CACHE, parallel=parallel
    )(function)
