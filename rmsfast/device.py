"""Arrays on a GPU, whoever made them: where they are, and what is kept beside them."""

from __future__ import annotations

import ctypes
import functools
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmsfast.core.cuda.target import SIMULATED, target, why_not

DLPACK_CUDA = (2, 13)  # device types: CUDA memory, and managed memory
DLPACK_KINDS = {0: "i", 1: "u", 2: "f", 5: "c"}
LEGACY_STREAM = 1  # what the array interface and DLPack call the default stream


def need_gpu() -> Any:
    """Return the CUDA target.

    Raises
    ------
    RuntimeError
        If nothing can run on a GPU; the message says why, and what to install.
    """
    reason = why_not()
    if reason:
        raise RuntimeError(f"arrays on a GPU need a GPU here: {reason}")
    return target()


def is_on_gpu(array: Any) -> bool:
    """Return whether `array` says that it is on a GPU."""
    if isinstance(array, np.ndarray):
        return False
    if _interface(array) is not None:
        return True
    return hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] in DLPACK_CUDA


def _interface(array: Any) -> Any:
    """Return what the array interface of CUDA says, or None if `array` has none."""
    if SIMULATED and hasattr(array, "_ary"):  # an array on the simulated device
        return array._ary.__array_interface__
    return getattr(_without_history(array), "__cuda_array_interface__", None)


def _without_history(array: Any) -> Any:
    """Return a tensor of PyTorch as it is: one that has a gradient refuses to say where it is."""
    return array.detach() if getattr(array, "requires_grad", False) else array


@dataclass(frozen=True)
class Leaf:
    """Where an array on a GPU is.

    Attributes
    ----------
    address : int
        Of its first element.
    shape, strides : tuple of int
        Strides in elements, zero where the length is below two, or the array empty.
    dtype : numpy.dtype
        Of its elements.
    writeable : bool
        Whether it may be written.
    stream : int
        On which the array is made, 0: unknown.
    owner : object
        Keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    writeable: bool
    stream: int
    owner: Any

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def end(self) -> int:
        """Address behind the last element."""
        return self.address + self.size * self.dtype.itemsize

    @property
    def is_dense(self) -> bool:
        """Whether the elements fill one piece of memory, in whatever order."""
        if self.size == 0:
            return True
        expected = 1
        for stride, length in sorted(zip(self.strides, self.shape, strict=True)):
            if length > 1:
                if stride != expected:
                    return False
                expected *= length
        return True

    def like(self, values: Any, dtype: np.dtype[Any]) -> Accumulator:
        """Return an accumulator laid out as this array.

        Parameters
        ----------
        values : ndarray, Accumulator or float
            What it holds; a number, in both parts of complex numbers.
        dtype : numpy.dtype
            Its dtype.
        """
        if isinstance(values, Accumulator) and values.strides == self.strides:
            return values
        cuda = need_gpu()
        real = np.zeros(0, dtype).real.dtype
        parts = dtype.itemsize // real.itemsize
        if np.ndim(values) == 0 and not isinstance(values, Accumulator) and self.size > 0:
            from rmsfast.core.cuda import update

            flat = cuda.device_array(self.size * parts, real)
            blocks = min(-(-flat.size // update.THREADS), 1024)
            kernel = update.fill_kernel(np.float64 if real.itemsize == 8 else np.float32)
            update.launch(kernel, blocks, 0, flat, float(values))
        else:
            host = np.empty(self.size, dtype)
            view = _ordered(host, self.shape, self.strides)
            values = np.asarray(values)
            view[...] = values
            if dtype.kind == "c" and values.dtype.kind != "c":
                view.imag = values
            flat = cuda.to_device(host.view(real))
        return Accumulator(flat, self.shape, self.strides, dtype)


@dataclass(frozen=True)
class Accumulator:
    """What an optimizer remembers of an array on a GPU, laid out as that.

    Attributes
    ----------
    flat : device array, shape (size,) or (2 * size,)
        The elements in the order of the array; both parts of complex numbers.
    shape, strides : tuple of int
        As of the `Leaf`.
    dtype : numpy.dtype
        Of the elements.
    """

    flat: Any
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def address(self) -> int:
        """Of the first element."""
        return address_of(self.flat)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        need_gpu().synchronize()  # updates may run on any stream
        host = self.flat.copy_to_host().view(self.dtype)
        array = _ordered(host, self.shape, self.strides).copy("K")
        return array if dtype is None else array.astype(dtype)

    def copy(self, order: str) -> np.ndarray:
        """Return a copy in the memory of the host, in the `order` of this one."""
        return np.array(self, order=order)  # type: ignore[call-overload]

    def __reduce__(self) -> Any:  # copies and pickles are of the host
        return np.array, (np.asarray(self),)


def _ordered(flat: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """Return the elements of `flat` as an array of this shape and strides."""
    return np.lib.stride_tricks.as_strided(flat, shape, [flat.itemsize * s for s in strides])


def address_of(array: Any) -> int:
    """Return where the data of one of Numba's device arrays is."""
    if SIMULATED:
        return int(array._ary.ctypes.data)
    return int(array.__cuda_array_interface__["data"][0])


def read(label: str, array: Any, stream: int) -> Leaf:
    """Return where an array on a GPU is.

    Parameters
    ----------
    label : str
        What the caller calls it.
    array : object
        With ``__cuda_array_interface__`` or DLPack.
    stream : int
        Address of the stream that is asked for, 0: none.

    Raises
    ------
    TypeError
        If it is not on a GPU.
    ValueError
        If it is on another GPU than the current one, masked, or not in one piece.
    """
    if not is_on_gpu(array):
        kind = f"{type(array).__module__}.{type(array).__name__}".removeprefix("builtins.")
        raise TypeError(f"{label} must be an array on the GPU, got {kind}")
    current = 0 if SIMULATED else int(need_gpu().get_current_device().id)
    if hasattr(array, "__dlpack_device__") and not SIMULATED:
        number = int(array.__dlpack_device__()[1])
        if number != current:
            raise ValueError(
                f"{label} must be on the current device, number {current}, got one on {number}"
            )
    leaf = _from_interface(label, array) or _from_dlpack(label, array, stream)
    if not leaf.is_dense:
        raise ValueError(
            f"{label} must fill one piece of memory on the GPU, got shape {leaf.shape} and strides "
            f"{leaf.strides} (in elements)"
        )
    return leaf


def _from_interface(label: str, array: Any) -> Leaf | None:
    interface = _interface(array)
    if interface is None:
        return None
    if interface.get("mask") is not None:
        raise ValueError(f"{label} must not be masked")
    dtype = np.dtype(interface["typestr"])
    shape = tuple(map(int, interface["shape"]))
    steps = interface.get("strides")
    if steps is not None:
        steps = [s // dtype.itemsize for s in steps]
    address, is_readonly = interface["data"]
    stream = interface.get("stream") or _framework_stream(array)
    return Leaf(
        int(address or 0), shape, _strides(shape, steps), dtype, not is_readonly, stream, array
    )


class _Tensor(ctypes.Structure):  # DLTensor of dlpack.h, with which a DLManagedTensor begins
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


def _from_dlpack(label: str, array: Any, stream: int) -> Leaf:
    # The capsule is not consumed: it frees its part of the tensor with `owner`.
    capsule = _without_history(array).__dlpack__(stream=stream or LEGACY_STREAM)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    tensor = _Tensor.from_address(pointer(capsule, b"dltensor"))
    kind = DLPACK_KINDS.get(tensor.code)
    if kind is None or tensor.lanes != 1:
        raise TypeError(f"{label} must be of a dtype of NumPy, got DLPack's code {tensor.code}")
    shape = tuple(tensor.shape[: tensor.ndim])
    steps = tensor.strides[: tensor.ndim] if tensor.strides else None
    address = (tensor.data or 0) + tensor.byte_offset
    dtype = np.dtype(f"{kind}{tensor.bits // 8}")
    return Leaf(address, shape, _strides(shape, steps), dtype, True, 0, (array, capsule))


def _strides(shape: tuple[int, ...], steps: Any) -> tuple[int, ...]:
    """Return strides in elements, of C order if `steps` is None; 0 where they do not matter."""
    if steps is None:
        steps = [int(np.prod(shape[k + 1 :], dtype=np.int64)) for k in range(len(shape))]
    matters = [n > 1 and 0 not in shape for n in shape]
    return tuple(int(s) if m else 0 for s, m in zip(steps, matters, strict=True))


def _framework_stream(array: Any) -> int:
    """Return the stream that PyTorch works on now: its arrays do not name it."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(array, torch.Tensor):
        return 0
    return int(torch.cuda.current_stream(array.device).cuda_stream)


def address_of_stream(stream: Any) -> int:
    """Return the address of a stream, 0 for None and the default stream.

    Parameters
    ----------
    stream : object, int or None
        A stream of Numba, CuPy or PyTorch, anything with ``__cuda_stream__``, or the address of
        one.

    Raises
    ------
    TypeError
        If it is none.
    """
    address = 0 if stream is None else stream
    if hasattr(stream, "__cuda_stream__"):
        address = stream.__cuda_stream__()[1]
    elif hasattr(stream, "cuda_stream"):  # PyTorch
        address = stream.cuda_stream
    elif hasattr(stream, "ptr"):  # CuPy
        address = stream.ptr
    elif SIMULATED and hasattr(stream, "auto_synchronize"):
        address = 0
    if isinstance(address, bool) or not isinstance(address, int) or address < 0:
        raise TypeError(f"stream must be a CUDA stream or its address, got {stream!r}")
    return int(address)


def stream_of(address: int | None, leaves: list[Leaf]) -> Any:
    """Return the stream to work on, for Numba.

    Parameters
    ----------
    address : int or None
        Of the stream that is asked for. None: the first array that has a stream decides, else
        the default stream is taken.
    leaves : list of Leaf
        The arrays.
    """
    if address is None:
        address = next((leaf.stream for leaf in leaves if leaf.stream), 0)
    return 0 if SIMULATED else _numba_stream(address)


@functools.lru_cache(maxsize=64)  # Numba looks a launch up by the identity of its stream
def _numba_stream(address: int) -> Any:
    # A stream, not 0: with that a copy to the device would wait for all that was started
    return need_gpu().external_stream(address) if address else need_gpu().default_stream()
