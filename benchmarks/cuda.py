"""Updates and many problems on a GPU.

``python -m benchmarks.cuda`` needs one, and without one says so and ends; ``python -m benchmarks``
leaves it out. It measures, each part in a new process, where all take turns:

- the update of arrays of 1e6 to 1e9 elements, beside a copy on the device that moves as many
  bytes, PyTorch, a fused kernel of CuPy and optax;
- all variants of the update, against that copy;
- the update of 10 elements, which is all overhead;
- `rmsfast.minimize_many` with ``device="cuda"``, against `jax.vmap` and the CPU.
"""

from __future__ import annotations

import functools
import gc
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from benchmarks import many, update
from benchmarks.report import machine, save, table
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
from rmsfast.core.cuda.target import SIMULATED, target, why_not

cuda: Any = target()

DTYPES = ("float32", "float64")
# What parameters and gradients are of -> what is computed in, and accumulators are of
COMPUTED = {"float32": np.float32, "float64": np.float64, "float16": np.float32}
SIZES = tuple(10**k for k in range(6, 10))
SMALL = 10
DRAWN = 10**6  # random numbers, which larger arrays repeat
COPY_BYTES = 2**30  # of the array that is copied, at most
SECONDS = 0.02  # of one timing: many steps, and one wait at their end
ROUNDS = 7  # the median over them
PEER_WORDS = 22  # that all contenders together hold per element
SPARE = 0.9  # of the free memory that may be filled
PROBLEMS = (10_000, 1_000_000)

OURS, COPY, RAW, CUPY = "rmsfast", "copy", "kernels.cuda.update", "CuPy fused"
PEERS = (FOREACH, COMPILED, CUPY, OPTAX)


def process(part: str, *arguments: Any) -> Any:
    """Run one part in a new process, where JAX does not take most of the memory at once."""
    variables = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return many.process(part, *arguments, module="benchmarks.cuda", **variables)


def free_memory() -> float:
    """Return the bytes of the GPU that may be filled."""
    return SPARE * cuda.current_context().get_memory_info().free


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
    """Return why some peers cannot run."""
    return update.missing(MAKERS)


def one_array(dtype: str, n: int, without: Iterable[str]) -> dict[str, float]:
    """Return the seconds of one step of each contender, and of the copy; of none beyond memory."""
    free = free_memory()
    total = n * moved(PLAIN, dtype)
    if n * held(PLAIN, dtype) + 2 * copy_size(total) > free:
        return {}
    host = draw(n, dtype)
    x, g = map(cuda.to_device, host)
    contenders = {OURS: ours(x, g, PLAIN, dtype), COPY: copied(total)}
    if n == SMALL:
        contenders[RAW] = raw_update(x, g)
    if n * PEER_WORDS * np.dtype(dtype).itemsize <= free:
        for name, make in MAKERS.items():
            if name not in without:
                contenders[name] = make(*host)
    return seconds(contenders)


def variants(dtype: str, n: int) -> dict[str, dict[str, float]]:
    """Return the seconds of one update of each variant, and of its copy, within memory."""
    free, found = free_memory(), {}
    there: tuple[Any, ...] = ()
    for name, v in VARIANTS.items():
        total = n * moved(v, dtype)
        if n * held(v, dtype) + 2 * copy_size(total) <= free:
            gc.collect()  # the arrays of the variant before: some are in cycles
            there = there or tuple(map(cuda.to_device, draw(n, dtype)))
            found[name] = seconds({OURS: ours(*there, v, dtype), COPY: copied(total)})
    return found


def all_sizes(dtype: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return `variants` for all sizes, by their decimals: JSON has no other keys."""
    return {str(n): variants(dtype, n) for n in SIZES}


def problems(n: int, count: int, without: Iterable[str]) -> dict[str, float]:
    """Return nanoseconds per iteration of one problem."""
    calls = {
        "cuda": many.ours(n, problems=count, device="cuda"),
        "cpu": many.ours(n, problems=count),
    }
    if OPTAX not in without:
        for by_jax in (False, True):
            for last in (False, True):
                calls[f"jax, {by_jax}, {last}"] = many.vmapped(
                    n, by_jax=by_jax, problems_last=last, sharded=False, problems=count
                )
    spent = many.seconds(calls)
    ns = {name: 1e9 * t / count / many.ITERATIONS for name, t in spent.items()}
    jax = [ns.pop(name) for name in list(ns) if name.startswith("jax")]
    return {**ns, "jax": min(jax)} if jax else ns


PARTS: dict[str, Callable[..., Any]] = {
    "missing": missing,
    "one": lambda dtype, n, *without: one_array(dtype, int(n), without),
    "variants": all_sizes,
    "problems": lambda n, count, *without: problems(int(n), int(count), without),
}


# Tables -------------------------------------------------------------------------------------------


def fraction(v: Variant, dtype: str, n: int, times: dict[str, float]) -> float:
    """Return the bandwidth of the update as a fraction of that of the copy."""
    total = n * moved(v, dtype)
    return (total / times[OURS]) / (2 * copy_size(total) / times[COPY])


def ratio(times: dict[str, float], name: str, own: str = OURS) -> str:
    """Return how many times as long as ours another took, or a dash."""
    return digits(times[name] / times[own]) if name in times else "-"


def size_table(dtype: str, measured: dict[int, dict[str, float]]) -> str:
    """Return the table of one array, for one dtype."""
    rows = []
    for n, times in measured.items():
        if not times:
            rows.append((f"{n:,}", *"-" * (4 + len(PEERS))))
            continue
        total = n * moved(PLAIN, dtype)
        rows.append(
            (
                f"{n:,}",
                digits(1e6 * times[OURS]),
                digits(total / times[OURS] / 1e9),
                digits(2 * copy_size(total) / times[COPY] / 1e9),
                f"{fraction(PLAIN, dtype, n, times):.2f}",
                *(ratio(times, name) for name in PEERS),
            )
        )
    head = (f"n, {dtype}", "us", "GB/s", "copy, GB/s", "of the copy")
    return table((*head, *(f"{name} / {OURS}" for name in PEERS)), rows)


def variant_table(dtype: str, measured: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the table of the variants, for one dtype."""
    rows = []
    for name, v in VARIANTS.items():
        cells = [
            f"{fraction(v, dtype, int(n), found[name]):.2f}" if name in found else "-"
            for n, found in measured.items()
        ]
        rows.append((name, moved(v, dtype), *cells))
    sizes = (f"of the copy, n = {int(n):,}" for n in measured)
    return table((f"variant, {dtype}", "bytes", *sizes), rows)


def launch_table(measured: dict[str, dict[str, float]]) -> str:
    """Return the table of the small array."""

    def cell(times: dict[str, float], name: str) -> str:
        return digits(1e6 * times[name]) if name in times else "-"

    rows = [
        (name, *(cell(times, name) for times in measured.values())) for name in (OURS, RAW, *PEERS)
    ]
    return table((f"a step, n = {SMALL}", *(f"{dtype}, us" for dtype in measured)), rows)


def problem_table(measured: dict[tuple[int, int], dict[str, float]]) -> str:
    """Return the table of many problems."""
    rows = [
        (
            f"{count:,} problems, n = {n}",
            *(f"{ns[name]:.4f}" if name in ns else "-" for name in ("cuda", "jax", "cpu")),
            *(ratio(ns, name, "cuda") for name in ("jax", "cpu")),
        )
        for (n, count), ns in measured.items()
    ]
    times = ('device="cuda", ns', "jax.vmap, ns", "CPU, ns")
    return table(("an iteration", *times, 'jax.vmap / "cuda"', 'CPU / "cuda"'), rows)


def card() -> str:
    """Return one line: the GPU, and what drives it."""
    if SIMULATED:
        return "Simulated: no times."
    device = cuda.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else device.name
    driver = "an unknown driver"
    if tool := shutil.which("nvidia-smi"):
        command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        if version := re.match(r"[\d.]+", shown):
            driver = f"driver {version[0]}"
    total = cuda.current_context().get_memory_info().total
    return f"On one {name} with {total / 2**30:.0f} GiB, {driver}."


def main() -> str:
    """Measure, write the page, and return the tables."""
    if reason := why_not():
        sys.exit(f"This benchmark cannot run: {reason}.")
    reasons = process("missing")
    sized = {
        dtype: {n: process("one", dtype, n, *reasons) for n in (SMALL, *SIZES)} for dtype in DTYPES
    }
    small = {dtype: by_size.pop(SMALL) for dtype, by_size in sized.items()}
    first = "\n\n".join(size_table(dtype, found) for dtype, found in sized.items())
    second = "\n\n".join(variant_table(dtype, process("variants", dtype)) for dtype in COMPUTED)
    third = launch_table(small)
    solved = {
        (n, count): process("problems", n, count, *reasons)
        for n in many.SIZES
        for count in PROBLEMS
    }
    fourth = problem_table(solved)
    notes = "".join(f"\nLeft out: {name}, {why}.\n" for name, why in reasons.items())
    page = f"""# On a GPU

{card()}

Every time of an update is the median over {ROUNDS} rounds, in which the contenders of a row take
turns, of about {1e3 * SECONDS:.0f} ms of steps after each other, from the start of the first until
the device has ended the last, divided by their number. Parameters and gradients are normal random
numbers, of which large arrays repeat {DRAWN:,}; the gradients stay the same. A dash: not installed,
or not enough memory; the peers are there where the arrays of all contenders together fit.
{notes}
## One array

The copy moves as many bytes from one array on the device to another, {COPY_BYTES / 2**30:.0f} GiB
at most, which is read and written. The update reads and writes the parameters and the mean square,
and reads the gradient. `{OPTAX}` is `optax.rmsprop` in `jax.jit` with donated arguments;
`{CUPY}` is the formula in one `cupy.ElementwiseKernel`. They take the same steps.

{first}

## Variants

Bandwidth of the update as a fraction of that of a copy of as many bytes. `bytes` are those that an
element moves; float16 has accumulators in float32.

{second}

## A small array

What a step costs where there is nothing to do: the time between two starts, without waiting in
between.

{third}

## Many problems

Time per iteration of one problem, the chained Rosenbrock function from random starts,
{many.ITERATIONS} iterations each, numeric `lr`, float64; median over {many.ROUNDS} rounds of the
fastest of {many.REPEATS} calls. `jax.vmap` is that of `optax.rmsprop` in a jitted `jax.lax.scan` on
the same GPU, the fastest of four forms: `jax.grad` or the gradient written out, problems in the
first axis or in the last. Its starts are on the device before, and results are copied to the host;
rmsfast copies both within the time, keeps the best point of each problem, stops at values that are
not finite, and looks for limit cycles. On the CPU `minimize_many` uses all cores.

{fourth}

{machine()}

`python -m benchmarks.cuda` writes this page.
"""
    save("cuda.md", page)
    overview = "\n\n".join((first, second, third, fourth))
    print(overview)
    return overview


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(PARTS[sys.argv[1]](*sys.argv[2:])))
    else:
        main()
