"""What this installation has: versions, threads, GPUs."""

from __future__ import annotations

import importlib.metadata
import platform
import sys

import numba
from numba.np.ufunc.parallel import threading_layer

from rmsfast.core.cuda.target import MODULES, SIMULATED, target, why_not


def show_config() -> None:
    """Print versions, threads, the threading layer, the CUDA target and the GPUs.

    Please add it to a report of an error. Where nothing can run on a GPU it says
    why, and what to install.

    Examples
    --------
    >>> import rmsfast
    >>> rmsfast.show_config()
    rmsfast          ...
    Python           ...
    threads          ...
    threading layer  ...
    CUDA target      ...
    GPU              ...
    """
    rows = [
        ("rmsfast", sys.modules["rmsfast"].__version__),
        ("Python", f"{platform.python_version()}, {platform.platform()}"),
        *((name, _version(name)) for name in ("numba", "numpy", "scipy")),
        ("threads", str(numba.get_num_threads())),  # it starts them, and so chooses a layer
        ("threading layer", threading_layer()),
        ("CUDA target", _cuda_target()),
        *(("GPU", line) for line in _gpus()),
    ]
    for name, value in rows:
        print(f"{name:<16} {value}")


def _version(package: str) -> str:
    return importlib.metadata.version(package.replace("_", "-"))


def _cuda_target() -> str:
    module = target()
    if module is None:
        return "none"
    if SIMULATED:
        return "the simulator of Numba"
    name = next(name for name, path in MODULES.items() if path == module.__name__)
    return f"{name} {_version(name)}"


def _gpus() -> list[str]:
    module, reason = target(), why_not()
    if module is None or reason:
        return [f"none: {reason}"]
    return [_gpu(device) for device in module.list_devices()]


def _gpu(device: object) -> str:
    if SIMULATED:
        return "simulated"
    name = getattr(device, "name", "")
    name = name.decode() if isinstance(name, bytes) else name
    major, minor = getattr(device, "compute_capability", (0, 0))
    return f"{getattr(device, 'id', 0)}: {name}, compute capability {major}.{minor}"
