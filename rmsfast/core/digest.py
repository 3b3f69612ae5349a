"""Functions told apart by what they are, not by where they stand."""

import hashlib
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType, NoneType
from typing import Any

import numpy as np
from numba import types


def digest_of(*things: Any) -> str | None:
    """Return a digest of functions with all that they use, and of plain values.

    None if a function uses what cannot be told by its value.
    """
    unknown: list[Any] = []
    digest = hashlib.sha256()
    seen: set[int] = set()

    def add(thing: Any) -> None:
        thing = getattr(thing, "py_func", thing)
        if id(thing) in seen:
            return
        if isinstance(thing, FunctionType):
            seen.add(id(thing))
            add(thing.__code__)
            add(thing.__defaults__)
            for cell in thing.__closure__ or ():
                try:
                    add(cell.cell_contents)
                except ValueError:  # nothing in it yet
                    unknown.append(cell)
            add_names(thing.__code__, thing)
        elif isinstance(thing, CodeType):
            digest.update(thing.co_code)
            add((thing.co_names, thing.co_varnames, thing.co_freevars, thing.co_flags))
            add(thing.co_consts)
        elif isinstance(thing, (tuple, list)):
            digest.update(b"%d(" % len(thing))
            for part in thing:
                add(part)
        elif isinstance(thing, np.ndarray) and not thing.dtype.hasobject:
            digest.update(repr((thing.dtype, thing.shape)).encode() + thing.tobytes())
        elif isinstance(thing, (str, bytes, int, float, complex, NoneType, np.generic)):
            digest.update(repr((type(thing).__name__, thing)).encode())
        elif isinstance(thing, ModuleType) and thing.__name__ in ("math", "numpy", "numba"):
            digest.update(thing.__name__.encode())
        elif isinstance(thing, (BuiltinFunctionType, np.ufunc, type)):
            digest.update(repr((getattr(thing, "__module__", ""), thing.__name__)).encode())
        elif isinstance(thing, types.Type):
            digest.update(str(thing).encode())
        else:
            unknown.append(thing)

    def add_names(code: CodeType, function: FunctionType) -> None:
        for name in code.co_names:
            if name in function.__globals__:
                add((name, function.__globals__[name]))
        for part in code.co_consts:
            if isinstance(part, CodeType):
                add_names(part, function)

    for thing in things:
        add(thing)
    return None if unknown else digest.hexdigest()
