"""When compiled code may go parallel."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numba
from numba.np.ufunc.parallel import threading_layer

_parallel = threading.Lock()
_forked = False


@contextmanager
def threads() -> Iterator[int]:
    """Reserve the threads of Numba for the body of a ``with`` statement.

    One Python thread at a time goes parallel: Numba's workqueue layer aborts
    the process when two do, and with the others they would only share the cores.
    A forked child of a process that went parallel stays serial: GNU OpenMP ends
    it otherwise.

    Yields
    ------
    int
        Number of threads, 1 where another Python thread has reserved them.
    """
    if _forked or not _parallel.acquire(blocking=False):
        yield 1
        return
    try:
        yield numba.get_num_threads()
    finally:
        _parallel.release()


def _after_fork() -> None:
    global _parallel, _forked
    _parallel = threading.Lock()
    try:
        threading_layer()
    except ValueError:  # no thread was ever started
        return
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
