"""When compiled code may go parallel."""

from __future__ import annotations

import os
import threading

import numba
from numba.np.ufunc.parallel import threading_layer

_parallel = threading.Lock()
_forked = False


class threads:  # noqa: N801  # it is used as a function
    """Reserve the threads of Numba for the body of a ``with`` statement.

    One Python thread at a time goes parallel: Numba's workqueue layer aborts
    the process when two do, and with the others they would only share the cores.
    A forked child of a process that went parallel stays serial: GNU OpenMP ends
    it otherwise.

    The ``with`` statement gives the number of threads, 1 where another Python
    thread has reserved them.
    """

    __slots__ = ("_held",)
    _held: threading.Lock | None

    def __enter__(self) -> int:
        self._held = None
        if _forked or not _parallel.acquire(False):
            return 1
        self._held = lock = _parallel
        try:
            return numba.get_num_threads()
        except BaseException:
            lock.release()
            raise

    def __exit__(self, *error: object) -> None:
        if self._held is not None:
            self._held.release()


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
