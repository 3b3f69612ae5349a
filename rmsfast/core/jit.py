"""The jit policy: how every compiled function of rmsfast is compiled, and why.

``error_model="numpy"``
    Division by zero gives inf or nan instead of raising. Without the branch to
    the exception LLVM vectorises the update loop: 7.7 times faster at 1e7
    float64 elements.
``fastmath=False``
    It adds nothing to the update loop, and it lets LLVM assume that no NaN
    occurs, which breaks the checks for non-finite values. It must be said:
    left out, a function inherits the flags of whoever calls it first.
``nogil=True``
    Compiled code touches no Python object, so other threads may run.
``cache=True``
    Compiled code is kept on disk and a second process compiles nothing. Set the
    environment variable ``RMSFAST_CACHE=0`` before the import to switch it off.
    Where nothing can be written it is off, and the import warns.
"""

import functools
import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
from numba import extending
from numba.core.caching import IndexDataCacheFile

from rmsfast.core.digest import digest_of

CACHE = os.environ.get("RMSFAST_CACHE", "1") != "0" and not getattr(numba.config, "DISABLE_JIT", 0)


def _fingerprint() -> str:
    """Digest of all sources of this folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


FINGERPRINT = _fingerprint()


class _CacheFile(IndexDataCacheFile):
    """Numba's cache of one function, with data files named by what is in them.

    Numba numbers the data files of an index, without a lock: of two processes
    that compile at once one may overwrite the other's, and the index then leads
    to the wrong machine code for ever.
    """

    def save(self, key: Any, data: Any) -> None:
        """Save machine code under `key`: the data first, then the index."""
        content = repr((key, self._source_stamp)).encode()
        base = self._index_name.removesuffix(".nbi")
        name = f"{base}.{hashlib.sha256(content).hexdigest()[:16]}.nbc"
        files: Any = super()
        files._save_data(name, data)
        overloads = files._load_index()
        overloads[key] = name
        files._save_index(overloads)


@functools.cache
def _warn_unkept() -> None:
    """Warn, once per process."""
    text = (
        "compiled code cannot be kept on disk: neither the folder of rmsfast nor the user's cache "
        "is writable; set NUMBA_CACHE_DIR to a folder that is, or RMSFAST_CACHE=0"
    )
    warnings.warn(text, RuntimeWarning, stacklevel=2)


def _keep(compiled: Any) -> bool:
    """Have Numba keep machine code on disk; return whether there is a place for it."""
    try:
        compiled.enable_caching()
    except RuntimeError:
        _warn_unkept()
        return False
    compiled._cache._cache_file.__class__ = _CacheFile
    return True


def _njit(*signature: Any, **flags: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile with the flags of this module, and with a cache that sees all of this folder.

    Numba's cache watches the file of the function compiled, not the files of
    the functions it calls: after an upgrade, old machine code would go on
    running. So the digest of the folder joins the stamp of the file.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = numba.njit(error_model="numpy", nogil=True, **flags)(function)
        if CACHE and flags.get("inline") != "always" and _keep(compiled):
            index = compiled._cache._cache_file
            index._source_stamp = (*index._source_stamp, FINGERPRINT)
        for types in signature:
            compiled.compile(types)
            compiled.disable_compile()
        return compiled

    return decorate


def jit_closure(function: Callable[..., Any], **flags: Any) -> Any:
    """Compile a closure over other compiled functions, which `cached_by_value` may keep on disk."""
    return numba.njit(error_model="numpy", fastmath=False, nogil=True, **flags)(function)


def cached_by_value(compiled: Any, *key: Any) -> Any:
    """Keep the machine code of `compiled` on disk under `key`, if that can be told by value.

    Numba's own key does not tell apart what the functions called by a closure
    are, and it holds a number that differs from process to process.
    """
    digest = digest_of(FINGERPRINT, *key)
    if CACHE and digest is not None and _keep(compiled):
        compiled._cache._index_key = lambda signature, codegen: (
            signature,
            codegen.magic_tuple(),
            digest,
        )
    return compiled


def jit(function: Callable[..., Any]) -> Any:
    """Compile `function` lazily, one machine code per tuple of argument types."""
    return _njit(fastmath=False)(function)


def jit_sum(function: Callable[..., Any]) -> Any:
    """Compile a function of the solver whose sums LLVM may reorder.

    A sum in the order written takes four cycles per term; reordered it uses
    vectors: 124 instead of 805 ns for a scalar product at n = 1000. Of the
    fast-math flags this one alone keeps NaN and infinity as they are. The order
    depends on where the rows lie relative to each other, which is the same in
    every run; an objective, called with any arrays, is compiled without.
    """
    return _njit(fastmath={"reassoc"})(function)


def jit_merged(function: Callable[..., Any]) -> Any:
    """Compile a function that LLVM merges into its callers, however long it is."""
    return _njit(fastmath=False, forceinline=True)(function)


def jit_inline(function: Callable[..., Any]) -> Any:
    """Compile a loop into each of its callers, with the constants that they hand it."""
    return _njit(fastmath=False, inline="always")(function)


def jit_parallel(function: Callable[..., Any]) -> Any:
    """Compile a loop whose `numba.prange` runs on threads."""
    return _njit(fastmath=False, parallel=True)(function)


def intrinsic(function: Callable[..., Any]) -> Any:
    """Make a function of compiled code that writes its own LLVM."""
    return extending.intrinsic(function)


@functools.cache
def specialise(function: Callable[..., Any], signature: Any, parallel: bool = False) -> Any:
    """Compile `function` for exactly `signature`, once.

    The machine code serves all objectives of one signature, and the next
    process finds it on disk. (A lazily compiled function that takes an
    objective is specialised on that objective, and never found again.)
    """
    if parallel:  # under a name of its own: the cache does not tell flags apart
        name = f"{function.__name__}_parallel"
        closure = function.__closure__
        function = FunctionType(function.__code__, function.__globals__, name, closure=closure)
        function.__qualname__ = name
    return _njit(signature, fastmath=False, parallel=parallel)(function)
