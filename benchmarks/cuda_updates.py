"""Updates on a GPU, side by side with those of others: what ``python -m benchmarks.cuda`` measures.

A string in place of a time, or of all that a part would have found, says why there is none.
"""

from __future__ import annotations

import functools
import gc
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from benchmarks import update
from benchmarks.report import table, why
from benchmarks.timing import medians, timed
from benchmarks.update import (
    COMPILED,
    EPS,
    FOREACH,
    LR,
    OPTAX,
    PLAIN,
    RHO,
    VARIANTS,
    Peer,
    Variant,
    digits,
)
from rmsfast import RMSProp, kernels
from rmsfast.core.cuda.target import SIMULATED, target

cuda: Any = target()

DTYPES = ("float32", "float64")
# What parameters and gradients are of -> what is computed in, and accumulators are of
COMPUTED = {"float32": np.float32, "float64": np.float64, "float16": np.float32}
SIZES = tuple(10**k for k in range(6, 10))
SMALL = 10
NAMED = ("plain", "momentum", "centered", "centered, momentum")  # at all sizes, in all dtypes
OTHERS = ("float32", 10**8)  # where the other variants are measured
DRAWN = 10**6  # random numbers, which larger arrays repeat
COPY_BYTES = 2**30  # of the array that is copied, at most
SECONDS = 0.02  # of one timing: many steps, and one wait at their end
ROUNDS = 7  # the median over them
SPARE = 0.9  # of the free memory that may be filled

OURS, COPY, RAW, CUPY = "rmsfast", "copy", "kernels.cuda.update", "CuPy fused"
PEER_WORDS = {FOREACH: 5, COMPILED: 5, CUPY: 3, OPTAX: 6}  # that each holds per element, at most
PEERS = tuple(PEER_WORDS)


def tell(*what: Any) -> None:
    """Show a row as soon as it is there, for runs that are cut off."""
    print(*what, file=sys.stderr, flush=True)


def look(found: Any, *keys: str) -> Any:
    """Return ``found[key][...]``, or the text that stands in place of it."""
    for key in keys:
        if isinstance(found, str):
            break
        found = found.get(key, "-")
    return found


def free_memory() -> float:
    """Return the bytes of the GPU that may be filled."""
    context = cuda.current_context()
    if not SIMULATED:
        context.memory_manager.deallocations.clear()  # Numba frees later
    return SPARE * context.get_memory_info().free


def beyond(needed: float, free: float) -> str:
    """Return why something is left out, "" if it fits the memory."""
    return f"needs {needed / 1e9:.0f} of {free / 1e9:.0f} GB" if needed > free else ""


def seconds(contenders: dict[str, Peer]) -> dict[str, float]:
    """Return the time of one step of each: the median over rounds, in turn."""
    timings = {}
    for name, peer in contenders.items():
        batch(peer, 2)  # compiles
        number = max(1, int(SECONDS / per_step(peer, 3)))
        timings[name] = functools.partial(per_step, peer, number)
    return medians(timings, ROUNDS)


def batch(peer: Peer, number: int) -> float:
    """Return the seconds from the start of the first of some steps until all have ended."""

    def run() -> None:
        for _ in range(number):
            peer.step()
        peer.wait()

    peer.wait()
    return timed(run)


def per_step(peer: Peer, number: int) -> float:
    """Return the seconds of one of so many steps."""
    return batch(peer, number) / number


# Contenders ---------------------------------------------------------------------------------------


def draw(n: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return parameters and gradients on the host."""
    x, g = (np.resize(a, n) for a in update.draw(min(n, DRAWN), np.dtype(dtype)))
    return x, g


def on_device(n: int, dtype: str) -> tuple[Any, Any]:
    """Return the same on the device, without as much memory of the host."""

    def repeated(part: np.ndarray) -> Any:
        whole, source = cuda.device_array(n, part.dtype), cuda.to_device(part)
        for start in range(0, n, part.size):
            stop = min(start + part.size, n)
            whole[start:stop].copy_to_device(source[: stop - start])
        return whole

    x, g = map(repeated, draw(min(n, DRAWN), dtype))
    return x, g


def moved(v: Variant, dtype: str) -> int:
    """Return the bytes per element that an update of this variant must move."""
    own, computed = np.dtype(dtype).itemsize, np.dtype(COMPUTED[dtype]).itemsize
    rates = int("lr" in v.options)
    return (2 + v.read - rates) * own + (2 * (v.changed - 1) + rates) * computed


def held(v: Variant, dtype: str) -> int:
    """Return the bytes per element of the arrays of this variant."""
    own, computed = np.dtype(dtype).itemsize, np.dtype(COMPUTED[dtype]).itemsize
    return 2 * own + (v.changed - 1 + int("lr" in v.options)) * computed


def on_gpu(step: Callable[[], Any]) -> Peer:
    """Return a contender without an answer, whose kernels run in the context of Numba."""
    return Peer(step, lambda: np.empty(0), cuda.synchronize)


def copied(total: int) -> Peer:
    """Return the copy of an array on the device that moves so many bytes, or a part of them."""
    size = copy_size(total)
    source, there = (cuda.device_array(size, np.uint8) for _ in range(2))
    return on_gpu(lambda: there.copy_to_device(source))


def copy_size(total: int) -> int:
    """Return how many bytes are copied: each is read and written."""
    return min(total // 2, COPY_BYTES)


def ours(x: Any, g: Any, v: Variant, dtype: str) -> Peer:
    """Return the update of a variant, of arrays on the device."""
    lr = np.full(x.shape, LR, COMPUTED[dtype]) if "lr" in v.options else LR
    optimizer = RMSProp(**{"rho": RHO, "eps": EPS, **v.options, "lr": lr})
    return on_gpu(lambda: optimizer.update(x, g))


def raw_update(x: Any, g: Any) -> Peer:
    """Return the update of one array by `rmsfast.kernels.cuda`."""
    s, h = cuda.to_device(np.zeros(x.shape, x.dtype)), kernels.hyper(LR, rho=RHO, eps=EPS)
    return on_gpu(lambda: kernels.cuda.update(x, g, s, None, None, h))


def torch_peer(x: np.ndarray, g: np.ndarray, make: Callable[..., Peer]) -> Peer:
    """Return the step of a peer by PyTorch, on the GPU."""
    return make(x, g, device="cuda")._replace(wait=cuda.synchronize)


def cupy_peer(x: np.ndarray, g: np.ndarray) -> Peer:
    """Return the step in the one kernel that one would write with CuPy."""
    import cupy

    kernel = cupy.ElementwiseKernel(
        "T g, T lr, T rho, T eps",
        "T x, T s",
        "s = rho * s + (T(1) - rho) * g * g; x -= lr * g / (sqrt(s) + eps)",
        "rmsprop",
    )
    there, grads = cupy.asarray(x), cupy.asarray(g)
    s = cupy.zeros_like(there)
    return Peer(
        lambda: kernel(grads, LR, RHO, EPS, there, s),
        lambda: cupy.asnumpy(there),
        cuda.synchronize,
    )


def need_jax() -> None:
    """Raise RuntimeError if JAX has no GPU."""
    import jax

    if jax.default_backend() != "gpu":
        raise RuntimeError(f"JAX finds no GPU, only {jax.default_backend()}")


def optax_peer(x: np.ndarray, g: np.ndarray) -> Peer:
    """Return the step of `optax.rmsprop`, compiled for the GPU."""
    need_jax()
    return update.optax_peer(x, g, waits=False)


MAKERS: dict[str, Callable[..., Peer]] = {
    FOREACH: functools.partial(torch_peer, make=functools.partial(update.torch_peer, foreach=True)),
    COMPILED: functools.partial(torch_peer, make=update.compiled_peer),
    CUPY: cupy_peer,
    OPTAX: optax_peer,
}


# Parts --------------------------------------------------------------------------------------------


def missing() -> dict[str, str]:
    """Return why some peers cannot run, or take another step."""
    reasons = {}
    for name, make in MAKERS.items():
        try:
            reasons |= update.missing({name: make})
        except RuntimeError as error:
            reasons[name] = why(error)
    return reasons


def one_array(dtype: str, n: int, without: Iterable[str]) -> dict[str, Any]:
    """Return the seconds of one step of each contender, and of the copy."""
    free, total = free_memory(), n * moved(PLAIN, dtype)
    used = n * held(PLAIN, dtype) + 2 * copy_size(total)
    if reason := beyond(used, free):
        return dict.fromkeys((OURS, COPY, *PEERS), reason)
    x, g = on_device(n, dtype)
    contenders = {OURS: ours(x, g, PLAIN, dtype), COPY: copied(total)}
    if n == SMALL:
        contenders[RAW] = raw_update(x, g)
    reasons, host = {}, draw(n, dtype)
    for name, make in MAKERS.items():
        size = n * PEER_WORDS[name] * np.dtype(dtype).itemsize
        if name in without:
            continue
        if reason := beyond(used + size, free):
            reasons[name] = reason
            continue
        try:
            peer = make(*host)
            batch(peer, 2)
        except Exception as error:  # of a compiler, or of memory: it is quoted
            traceback.print_exc()
            reasons[name] = why(error)
        else:
            contenders[name] = peer
            used += size
    return {**reasons, **seconds(contenders)}


def sizes(dtype: str, numbers: Iterable[int], without: Iterable[str]) -> dict[str, Any]:
    """Return `one_array` for some sizes, by their decimals: JSON has no other keys."""
    found = {}
    for n in numbers:
        gc.collect()  # the arrays of the size before: some are in cycles
        found[str(n)] = one_array(dtype, n, without)
        tell(f"one array of {n:,} {dtype}, seconds:", found[str(n)])
    return found


def one_variant(dtype: str, n: int, v: Variant) -> Any:
    """Return the seconds of one update of a variant, and of its copy."""
    total = n * moved(v, dtype)
    if reason := beyond(n * held(v, dtype) + 2 * copy_size(total), free_memory()):
        return reason
    return seconds({OURS: ours(*on_device(n, dtype), v, dtype), COPY: copied(total)})


def variants(dtype: str, numbers: Iterable[int], names: Iterable[str]) -> dict[str, Any]:
    """Return `one_variant` by names and sizes."""
    found: dict[str, Any] = {}
    for name in names:
        found[name] = {}
        for n in numbers:
            gc.collect()
            found[name][str(n)] = one_variant(dtype, n, VARIANTS[name])
            tell(f"{name}, {n:,} {dtype}, seconds:", found[name][str(n)])
    return found


def named(dtype: str) -> dict[str, Any]:
    """Return the variants that are measured at all sizes."""
    return variants(dtype, SIZES, NAMED)


def others() -> dict[str, Any]:
    """Return the other variants."""
    dtype, n = OTHERS
    return variants(dtype, (n,), [name for name in VARIANTS if name not in NAMED])


# Tables -------------------------------------------------------------------------------------------


def cell(*values: Any, form: Callable[..., str]) -> str:
    """Return what `form` makes of some values, or the first text that stands in place of one."""
    return next((value for value in values if isinstance(value, str)), None) or form(*values)


def microseconds(value: float) -> str:
    """Return seconds in millionths."""
    return digits(1e6 * value)


def ratio(value: float, own: float) -> str:
    """Return how many times as long as ours another took."""
    return digits(value / own)


def speeds(v: Variant, dtype: str, n: int, times: Any) -> tuple[str, ...]:
    """Return GB/s of the update and of the copy, and what fraction of this the former is."""
    own, copy = look(times, OURS), look(times, COPY)
    if isinstance(own, str) or isinstance(copy, str):
        return ((own if isinstance(own, str) else copy),) * 3
    total = n * moved(v, dtype)
    fast, limit = total / own / 1e9, 2 * copy_size(total) / copy / 1e9
    return digits(fast), digits(limit), f"{fast / limit:.2f}"


def size_table(dtype: str, found: Any, reasons: dict[str, str]) -> str:
    """Return the table of one array, for one dtype."""
    rows = []
    for n in SIZES:
        times = look(found, str(n))
        own = look(times, OURS)
        peers = (reasons.get(name) or cell(look(times, name), own, form=ratio) for name in PEERS)
        us = cell(own, form=microseconds)
        rows.append((f"{n:,}", us, *speeds(PLAIN, dtype, n, times), *peers))
    head = (f"n, {dtype}", "us", "GB/s", "copy, GB/s", "of the copy")
    return table((*head, *(f"{name} / {OURS}" for name in PEERS)), rows)


def variant_table(dtype: str, found: Any, names: Iterable[str], numbers: Iterable[int]) -> str:
    """Return the table of some variants, for one dtype."""
    head, rows = [f"variant, {dtype}", "bytes"], []
    for n in numbers:
        head += [f"n = {n:,}: GB/s", "copy, GB/s", "of the copy"]
    for name in names:
        v, cells = VARIANTS[name], []
        for n in numbers:
            cells += speeds(v, dtype, n, look(found, name, str(n)))
        rows.append((name, moved(v, dtype), *cells))
    return table(head, rows)


def launch_table(found: dict[str, Any], reasons: dict[str, str]) -> str:
    """Return the table of the small array."""
    rows = []
    for name in (OURS, RAW, *PEERS):
        times = (look(by_size, str(SMALL), name) for by_size in found.values())
        rows.append((name, *(reasons.get(name) or cell(t, form=microseconds) for t in times)))
    return table((f"a step, n = {SMALL}", *(f"{dtype}, us" for dtype in found)), rows)
