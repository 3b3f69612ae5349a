"""The update of arrays on a GPU.

`rmsfast.kernels.step` and the other scalar rules are also for ``@cuda.jit`` code
of one's own, with numba-cuda.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rmsfast import device
from rmsfast.core import cpu
from rmsfast.core.rule import Hyper

__all__ = ["update"]

# dtype of parameters and gradient -> what is computed in, and their own type
DTYPES: dict[np.dtype[Any], tuple[Any, Any]] = {
    np.dtype(np.float64): (np.float64, np.float64),
    np.dtype(np.float32): (np.float32, np.float32),
    np.dtype(np.float16): (np.float32, np.float16),
}


def update(x: Any, g: Any, s: Any, m: Any, b: Any, h: Hyper, *, stream: Any = None) -> None:
    """Update parameters on a GPU in place, as `rmsfast.kernels.update` does on the CPU.

    Parameters
    ----------
    x, g : array on a GPU
        Parameters and gradient, float64, float32 or float16, of one shape; with
        ``__cuda_array_interface__`` or DLPack.
    s, m, b : array on a GPU
        Mean square and mean of the gradient, momentum buffer, of the same shape;
        float32 for float16. `m` may be None if not centered, `b` if the momentum
        is zero.
    h : Hyper
        Hyperparameters; the kernel rounds them.
    stream : object or int, optional
        See `rmsfast.RMSProp.update`.

    Raises
    ------
    RuntimeError
        If there is no GPU, driver or CUDA package; the message says which.
    TypeError
        If an array is not on the GPU, or of the wrong dtype.
    ValueError
        If an array is on another GPU, has another shape or other strides, is not
        in one piece, or is read-only.

    Notes
    -----
    The kernel is compiled at the first call for each dtype and variant. This
    function does not wait for it.

    Examples
    --------
    >>> import numpy as np
    >>> from numba import cuda
    >>> from rmsfast import kernels
    >>> h = kernels.hyper(lr=0.1, rho=0.9)
    >>> x, g, s = (cuda.to_device(np.full(2, value)) for value in (3.0, 6.0, 0.0))
    >>> kernels.cuda.update(x, g, s, None, None, h)
    >>> x.copy_to_host().round(4)
    array([2.6838, 2.6838])
    """
    device.need_gpu()
    from rmsfast.core.cuda import update as kernels  # it needs a CUDA package

    used = {"x": x, "g": g, "s": s}
    used |= {"m": m} if h.centered else {}
    used |= {"b": b} if h.momentum != 0 else {}
    place = device.address_of_stream(stream), device.current_device()
    leaves = {name: device.read(name, array, *place) for name, array in used.items()}
    first = leaves["x"]
    if first.dtype not in DTYPES:
        raise TypeError(f"x must be float64, float32 or float16, got {first.dtype}")
    T, P = DTYPES[first.dtype]
    for name, leaf in leaves.items():
        dtype = first.dtype if name in "xg" else np.dtype(T)
        if leaf.dtype != dtype:
            raise TypeError(f"{name} must be {dtype}, got {leaf.dtype}")
        if (leaf.shape, leaf.strides) != (first.shape, first.strides):
            raise ValueError(
                f"{name} must have the shape {first.shape} and the strides {first.strides} of x "
                f"(in elements), got {leaf.shape} and {leaf.strides}"
            )
        if name != "g" and not leaf.writeable:
            raise ValueError(f"{name} must be writeable, got a read-only array")
    if first.size == 0:
        return
    variant = cpu.Variant(
        momentum=h.momentum != 0,
        weight_decay=h.weight_decay != 0,
        clip_value=h.clip_value != math.inf,
        clip_norm=h.gradient_scale != 1,
        bias_correction=bool(h.bias_correction),
        centered=bool(h.centered),
        eps_in_sqrt=bool(h.eps_in_sqrt),
        nesterov=bool(h.nesterov),
        lr_in_momentum=bool(h.lr_in_momentum),
        decoupled=bool(h.decoupled),
        maximize=bool(h.maximize),
        lr_array=False,
        averaged=False,
    )
    places = {cpu.X: "x", cpu.G: "g", cpu.S: "s", cpu.M: "m", cpu.B: "b"}
    row = [leaves[places[c]].address if places.get(c) in leaves else 0 for c in range(cpu.COLUMNS)]
    with np.errstate(over="ignore", under="ignore"):
        numbers = tuple(map(T, (*h[: cpu.DECAY], 0.0)))
    kernel = kernels.update_one_kernel(T, P, variant)
    blocks = -(-first.size // kernels.SPAN)
    with device.stream_of(None if stream is None else place[0], [*leaves.values()]) as where:
        kernels.launch(kernel, blocks, where, tuple(map(np.int64, row)), first.size, numbers)
