"""A GPU that is this processor, for numba-cuda: ``pytest -m gpu --emulated tests/gpu``.

To import this takes the place of the CUDA driver, and of it alone. Types, code, PTX and the
arguments of launches are those of numba-cuda; the PTX is run by `ptx`. Memory on the device holds
no numbers at first. Nothing runs beside the host, so that what a stream must wait for is not seen.
Tests with tensors and arrays of other libraries need a GPU all the same: those of test_interop.
"""

import ctypes
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import ptx
from numba.cuda import dispatcher
from numba.cuda.cudadrv import devices, driver

ALIGNED = 256  # as memory on a GPU is

_memory = {}  # address -> bytes on the device, their number, what frees them
_programs = {}  # PTX -> Program
_order = np.random.default_rng(0)


class Driver:
    """Copies bytes; there is nothing else to do."""

    is_available, initialization_error = True, None

    def __getattr__(self, name):  # sizes are of bytes, addresses those of the host
        assert name.startswith("cuMemcpy"), f"{name} is not emulated"
        return lambda target, source, size, *stream: ctypes.memmove(target, source, size)

    def cuStreamSynchronize(self, handle):
        """Wait for nothing."""


class Context:
    """Hands out memory and streams."""

    device = SimpleNamespace(
        id=0, name=b"this processor", compute_capability=(9, 0), MULTIPROCESSOR_COUNT=1
    )

    def memalloc(self, size):
        block = np.full(size + ALIGNED, 255, np.uint8)
        address = -(-block.ctypes.data // ALIGNED) * ALIGNED
        where, end = ctypes.c_void_p(address), lambda: _memory.pop(address)
        pointer = driver.AutoFreePointer(self, where, size, finalizer=end)
        _memory[address] = block, size, pointer
        return pointer.own()

    def create_external_stream(self, address):
        return driver.Stream(address, external=True)

    def create_stream(self):
        return driver.Stream(4096)

    def get_default_stream(self):
        return driver.Stream(0)

    def synchronize(self):
        """Wait for nothing."""


class Runtime:
    """Has one context."""

    def __init__(self):
        self.context = Context()

    def ensure_context(self):
        return nullcontext()

    def get_or_create_context(self, number):
        return self.context


def _bytes(value):
    """Return an argument of a kernel as the driver takes it."""
    if isinstance(value, ctypes._SimpleCData):
        return bytes(value)
    return np.asarray(value, np.bool_ if isinstance(value, (bool, np.bool_)) else None).tobytes()


def _launch(kernel, args, grid, block, stream=0, sharedmem=0):
    text, values = kernel.inspect_asm(None), []
    for kind, value in zip(kernel.argument_types, args, strict=True):
        kernel._prepare_args(kind, value, stream, [], values)
    if text not in _programs:
        _programs[text] = ptx.Program(text)
    spans = [(address, address + size) for address, (_, size, _) in _memory.items()]
    assert grid[1:] == block[1:] == (1, 1) and sharedmem == 0
    _programs[text].launch(grid[0], block[0], [*map(_bytes, values)], spans, _order)


devices._runtime = Runtime()
devices.gpus = [Context.device]
driver.driver = Driver()
driver._to_core_stream = lambda stream: stream
dispatcher._Kernel.launch = _launch
dispatcher._Kernel.bind = lambda kernel: None
