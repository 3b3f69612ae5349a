"""The one place that imports a CUDA target, when it is first asked for.

There are two packages, with the same kernels: numba-cuda, which is imported as
``numba.cuda``, and its successor ``numba_cuda_mlir``. The environment variable
``RMSFAST_CUDA`` names one of them; else the first that is installed is taken.
The second cannot compile all that is needed yet, and is used only if asked for.
With ``NUMBA_ENABLE_CUDASIM=1`` Numba's simulator of a GPU is taken: it runs the
kernels as Python, without a GPU.
"""

import functools
import importlib
import importlib.util
import os
from types import CellType, FunctionType, ModuleType
from typing import Any

import numba

# What RMSFAST_CUDA may be -> the module that has `jit`, `device_array` and so on
MODULES = {"numba_cuda": "numba.cuda", "numba_cuda_mlir": "numba_cuda_mlir.cuda"}
ASKED = os.environ.get("RMSFAST_CUDA", "")
SIMULATED = bool(getattr(numba.config, "ENABLE_CUDASIM", 0))

EXTRAS = 'pip install "rmsfast[cuda12]" or "rmsfast[cuda13]"'
INSTALL = f"install it with {EXTRAS}"


@functools.cache
def target() -> ModuleType | None:
    """Return the CUDA target, or None if none can be imported; it needs no GPU."""
    return _found()[0]


@functools.cache
def why_not() -> str:
    """Return why nothing can run on a GPU, in one sentence that says what to do; else ""."""
    module, reason = _found()
    if module is None or SIMULATED:
        return reason
    if not ASKED and module.__name__ == MODULES["numba_cuda_mlir"]:
        return (
            "the CUDA package numba_cuda_mlir cannot compile the kernels yet, version 0.6.0 neither"
            " arrays at an address, nor constructors of named tuples, nor numpy.finfo: install "
            f"numba-cuda ({EXTRAS}), or try a later version with RMSFAST_CUDA=numba_cuda_mlir"
        )
    try:
        if module.is_available() and len(module.list_devices()) > 0:
            return ""
        error = str(module.cuda_error() or "")
        if not error and len(module.list_devices()) > 0:
            return f"the compiler of the CUDA toolkit, NVVM, is not found: {INSTALL}"
    except ImportError as unsupported:  # CudaSupportError is one
        error = str(unsupported)
    if "NO_DEVICE" in error or not error:
        return "there is no GPU: the CUDA driver finds no device that it may use"
    if "library cannot be found" in error:
        return "there is no CUDA driver: install NVIDIA's driver for the GPU of this machine"
    return f"the CUDA driver does not start: {' '.join(error.split())}"


def on_device(function: Any) -> Any:
    """Compile a function for kernels to call; where there is no CUDA package it stays as it is."""
    module = target()
    return function if module is None else module.jit(device=True)(function)


@functools.cache
def device_function(function: Any) -> Any:
    """Return a compiled function of scalars, records and arrays as one that kernels may call.

    Parameters
    ----------
    function : Dispatcher
        Compiled by the decorators of `rmsfast.core.jit`, or by `numba.njit`.

    Notes
    -----
    numba-cuda takes it as it is. The simulator and `numba_cuda_mlir` know no functions
    compiled for the CPU, so for them its source is made a device function, and so are those
    of all compiled functions that it calls.
    """
    module = target()
    if module is None or not (SIMULATED or module.__name__.startswith("numba_cuda_mlir")):
        return function

    def known(value: Any) -> Any:
        return device_function(value) if hasattr(value, "py_func") else value

    source = function.py_func
    names = {n: known(v) for n, v in source.__globals__.items() if n in source.__code__.co_names}
    cells = tuple(CellType(known(cell.cell_contents)) for cell in source.__closure__ or ())
    copy = FunctionType(
        source.__code__,
        {**source.__globals__, **names},
        source.__name__,
        source.__defaults__,
        cells,
    )
    return module.jit(device=True)(copy)


@functools.cache
def _found() -> tuple[ModuleType | None, str]:
    """Return the target and "", or None and why there is none."""
    if ASKED and ASKED not in MODULES:
        return None, f"RMSFAST_CUDA must be {' or '.join(MODULES)}, got {ASKED!r}"
    names = [ASKED] if ASKED else [*MODULES]
    installed = [name for name in names if importlib.util.find_spec(name)]
    if not installed and not SIMULATED:
        return None, f"there is no CUDA package {' or '.join(names)}: {INSTALL}"
    name = "numba_cuda" if SIMULATED else installed[0]  # Numba itself brings the simulator
    try:
        return importlib.import_module(MODULES[name]), ""
    except ImportError as error:
        return None, f"the CUDA package {name} cannot be imported ({error}): {INSTALL}"
