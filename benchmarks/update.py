"""The cost of one update of `rmsfast.RMSProp`.

``python -m benchmarks.update`` updates arrays of 10 to 1e8 elements in place, with all threads,
beside a loop that only moves the same bytes, and beside NumPy, PyTorch and optax. Gradients are
normal random numbers that stay the same, everything is warm, and all take the same steps.
"""

from __future__ import annotations

import functools
import gc
import math
import os
import timeit
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

from benchmarks.peers import optax_rmsprop
from benchmarks.report import FOLDER, machine, save, table, why
from benchmarks.timing import medians
from rmsfast import RMSProp, RMSPropOptions, kernels, plot
from rmsfast.core import cpu
from rmsfast.passes import PARALLEL_BYTES, Pass

LR, RHO, EPS = 1e-3, 0.99, 1e-8
DTYPES = (np.float64, np.float32)
SIZES = tuple(10**k for k in range(1, 9))
BATCH = 2e-4  # seconds of one timing, or one call
SECONDS = 0.03  # of one round, or two timings
ROUNDS = 5  # the median over rounds of the fastest timing
WORDS = 22  # that all contenders together hold per element
ARRAYS = 1000  # many arrays, and the elements of each
ROWS, WIDTH, TOUCHED = 100_000, 64, 4096
CROSSOVER = tuple(2**k for k in range(10, 19))

TRIAD, ARITHMETIC = "triad", "√ and ÷ alone"
FOREACH, SINGLE, COMPILED = "torch foreach", "torch loop", "torch compiled"
OPTAX, NUMPY = "optax", "NumPy"
PEERS = (NUMPY, FOREACH, SINGLE, COMPILED, OPTAX)

Call = Callable[[], Any]


class Peer(NamedTuple):
    """A call that does one step, one that returns the parameters, one that waits for the steps."""

    step: Call
    params: Callable[[], np.ndarray]
    wait: Call = lambda: None


class Variant(NamedTuple):
    """Hyperparameters of an update, and the streams it must move."""

    options: dict[str, Any]
    changed: int = 2  # arrays read and written: parameters, mean square, ...
    read: int = 1  # arrays only read: gradients; again, to measure them; learning rates

    @property
    def words(self) -> int:
        """Numbers moved per element."""
        return 2 * self.changed + self.read


PLAIN = Variant({})
NESTEROV = {"momentum": 0.9, "nesterov": True}
VARIANTS = {
    "plain": PLAIN,
    "eps in the root": Variant({"eps_in_sqrt": True}),
    "momentum": Variant({"momentum": 0.9}, 3),
    "Nesterov": Variant(NESTEROV, 3),
    "centered": Variant({"centered": True}, 3),
    "centered, momentum": Variant({"centered": True, "momentum": 0.9}, 4),
    "bias correction": Variant({"bias_correction": True}),
    "weight decay, coupled": Variant({"weight_decay": 1e-4}),
    "weight decay, decoupled": Variant({"weight_decay": 1e-4, "decoupled": True}),
    "clip_value": Variant({"clip_value": 0.5}),
    "clip_norm": Variant({"clip_norm": 1.0}, 2, 2),
    "maximize": Variant({"maximize": True}),
    "ema_decay": Variant({"ema_decay": 0.999}, 3),
    "lr for each element": Variant({"lr": np.ndarray}, 2, 2),
    "skip_nonfinite": Variant({"skip_nonfinite": True}, 2, 2),
    "all of these": Variant(
        {
            **NESTEROV,
            **{"eps_in_sqrt": True, "centered": True, "bias_correction": True, "maximize": True},
            **{"weight_decay": 1e-4, "clip_value": 0.5, "clip_norm": 1.0},
            **{"ema_decay": 0.999, "lr": np.ndarray, "skip_nonfinite": True},
        },
        5,
        3,
    ),
}
VARIANT_SIZES = (10**3, 10**5, 10**6, 10**7)


def seconds(calls: dict[str, Call]) -> dict[str, float]:
    """Return the time of one call of each: the median over rounds of the fastest, in turn."""
    timings = {}
    for name, call in calls.items():
        timer = timeit.Timer(call)
        timer.timeit(2)  # compiles
        number = max(1, int(BATCH / min(timer.repeat(3, 1))))
        timings[name] = functools.partial(fastest, timer, number)
    return medians(timings, ROUNDS)


def fastest(timer: timeit.Timer, number: int) -> float:
    """Return the time of one call, the fastest of several times `number` calls."""
    once = timer.timeit(number)  # the threads of the others come to rest
    repeats = max(2, int(SECONDS / once))
    return min(timer.repeat(repeats, number)) / number


def draw(n: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return parameters and gradients."""
    rng = np.random.default_rng(n)
    x, g = (rng.standard_normal(n, np.float32).astype(dtype, copy=False) for _ in range(2))
    return x, g


# A loop that only moves bytes ---------------------------------------------------------------------


@functools.cache
def triad(changed: int, read: int, parallel: bool) -> Callable[..., None]:
    """Compile a loop that changes `changed` arrays and reads `read` others, in one go."""

    def run(
        c: float,
        x: np.ndarray,
        s: np.ndarray,
        m: np.ndarray,
        b: np.ndarray,
        a: np.ndarray,
        g: np.ndarray,
        h: np.ndarray,
        r: np.ndarray,
    ) -> None:
        for i in numba.prange(x.size):
            d = c * g[i]
            if read > 1:
                d += c * h[i]
            if read > 2:
                d += c * r[i]
            x[i] += d
            s[i] += d
            if changed > 2:
                m[i] += d
            if changed > 3:
                b[i] += d
            if changed > 4:
                a[i] += d

    return numba.njit(error_model="numpy", parallel=parallel)(run)


def triads(x: np.ndarray, g: np.ndarray, v: Variant) -> dict[str, Call]:
    """Return the serial and the parallel triad with the traffic of a variant.

    They multiply with a zero of which the compiler does not know, and so change nothing.
    """
    others = [np.ones_like(x) if k < v.changed else x for k in range(1, 5)]
    again = [np.ones_like(x) if k < v.read else g for k in range(1, 3)]
    arrays = (x, *others, g, *again)
    zero = x.dtype.type(0)
    return {
        f"{TRIAD}, {kind}": functools.partial(triad(v.changed, v.read, parallel), zero, *arrays)
        for kind, parallel in (("serial", False), ("parallel", True))
    }


@numba.njit(error_model="numpy")
def _quotients(x: np.ndarray, g: np.ndarray, y: np.ndarray) -> None:
    for _ in range(100):
        for i in range(x.size):
            y[i] = g[i] / np.sqrt(x[i])


def arithmetic(dtype: Any) -> float:
    """Return the seconds of one square root and one division, on one thread, in vectors."""
    x, g = draw(1024, dtype)
    np.square(x, out=x)
    y = np.empty_like(x)
    return seconds({"": lambda: _quotients(x, g, y)})[""] / (100 * x.size)


def ours(x: np.ndarray, g: np.ndarray, v: Variant) -> Call:
    """Return the update of a variant."""
    lr = np.full_like(x, LR) if "lr" in v.options else LR
    optimizer = RMSProp(**{"rho": RHO, "eps": EPS, **v.options, "lr": lr})
    return lambda: optimizer.update(x, g)


# Peers --------------------------------------------------------------------------------------------


def numpy_peer(x: np.ndarray, g: np.ndarray) -> Peer:
    """Return the step in NumPy, without temporary arrays."""
    x, s, buffer = x.copy(), np.zeros_like(x), np.empty_like(x)

    def step() -> None:
        nonlocal x, s, buffer
        np.multiply(g, g, out=buffer)
        buffer *= 1.0 - RHO
        s *= RHO
        s += buffer
        np.sqrt(s, out=buffer)
        buffer += EPS
        np.divide(g, buffer, out=buffer)
        buffer *= LR
        x -= buffer

    return Peer(step, lambda: x)


def torch_optimizer(
    xs: list[np.ndarray], gs: list[np.ndarray], foreach: bool, device: str = "cpu"
) -> Any:
    """Return a `torch.optim.RMSprop` of copies of these arrays."""
    import torch

    params = [torch.nn.Parameter(torch.tensor(x, device=device)) for x in xs]
    for p, g in zip(params, gs, strict=True):
        p.grad = torch.tensor(g, device=device)
    return torch.optim.RMSprop(params, lr=LR, alpha=RHO, eps=EPS, foreach=foreach)


def torch_peer(x: np.ndarray, g: np.ndarray, *, foreach: bool, device: str = "cpu") -> Peer:
    """Return the step of `torch.optim.RMSprop`."""
    optimizer = torch_optimizer([x], [g], foreach, device)
    (p,) = optimizer.param_groups[0]["params"]
    return Peer(optimizer.step, lambda: p.detach().cpu().numpy())


def compiled_peer(x: np.ndarray, g: np.ndarray, *, device: str = "cpu") -> Peer:
    """Return the step of `torch.optim.RMSprop`, compiled for arrays of this size."""
    import torch

    optimizer = torch_optimizer([x], [g], True, device)
    (p,) = optimizer.param_groups[0]["params"]
    torch.compiler.reset()  # or the second size would be compiled for all sizes

    @torch.compile(fullgraph=False)
    def step() -> None:
        optimizer.step()

    return Peer(step, lambda: p.detach().cpu().numpy())


def optax_peer(x: np.ndarray, g: np.ndarray, *, waits: bool = True) -> Peer:
    """Return the step of `optax.rmsprop`, compiled, in the memory of its arguments.

    Parameters
    ----------
    x, g : ndarray
        Parameters and gradients.
    waits : bool
        Whether each step waits for its end.
    """
    import jax
    import optax

    optimizer = optax_rmsprop(LR, RHO, EPS)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params, grads = jax.numpy.array(x), jax.numpy.array(g)
    state = optimizer.init(params)

    def step() -> None:
        nonlocal params, state
        params, state = update(params, state, grads)
        if waits:
            wait()

    def wait() -> None:
        params.block_until_ready()

    return Peer(step, lambda: np.asarray(params), wait)


MAKERS = {
    NUMPY: numpy_peer,
    FOREACH: functools.partial(torch_peer, foreach=True),
    SINGLE: functools.partial(torch_peer, foreach=False),
    COMPILED: compiled_peer,
    OPTAX: optax_peer,
}


def missing(makers: dict[str, Callable[..., Peer]]) -> dict[str, str]:
    """Return why some peers cannot run; raise RuntimeError if one takes another step than ours."""
    reasons = {}
    x, g = draw(1000, np.float64)
    for name, make in makers.items():
        try:
            peer = make(x, g)
            peer.step()
        except ImportError:
            reasons[name] = "not installed"
            continue
        except Exception as error:  # of a compiler: it is quoted
            reasons[name] = why(error)
            continue
        peer.step()
        expected = x.copy()
        update = ours(expected, g, PLAIN)
        update()
        update()
        if not np.allclose(peer.params(), expected, rtol=1e-12, atol=0.0):
            raise RuntimeError(f"{name} takes another step")
    return reasons


# One array ----------------------------------------------------------------------------------------


def memory() -> float:
    """Return the bytes that are free, none where that is unknown."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):
        return 0.0


def one_array(n: int, dtype: Any, without: Iterable[str]) -> dict[str, float]:
    """Return the seconds of one update by each, of which the faster triad."""
    gc.collect()  # the arrays of the size before: some are in cycles
    x, g = draw(n, dtype)
    calls = {"rmsfast": ours(x, g, PLAIN), **triads(x, g, PLAIN)}
    for name, make in MAKERS.items():
        if name not in without:
            calls[name] = make(x, g).step
    return faster_triad(seconds(calls))


def faster_triad(times: dict[str, float]) -> dict[str, float]:
    """Return `times` with one triad."""
    kinds = [name for name in times if name.startswith(TRIAD)]
    others = {name: value for name, value in times.items() if name not in kinds}
    return {**others, TRIAD: min(times[name] for name in kinds)}


def digits(value: float) -> str:
    """Return a number with three digits."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"


def bandwidth(n: int, dtype: Any, value: float) -> float:
    """Return GB/s of plain updates that take so many seconds."""
    return PLAIN.words * n * np.dtype(dtype).itemsize / value / 1e9


def size_table(dtype: Any, measured: dict[int, dict[str, float]], per_element: float) -> str:
    """Return the table of one array, for one dtype."""
    head = (f"n, {np.dtype(dtype)}", "us", "GB/s", f"of the {TRIAD}", "of the roof")
    rows = []
    for n, times in measured.items():
        own = times["rmsfast"]
        roof = max(times[TRIAD], n * per_element / numba.get_num_threads())
        rows.append(
            (
                f"{n:,}",
                digits(1e6 * own),
                digits(bandwidth(n, dtype, own)),
                f"{times[TRIAD] / own:.2f}",
                f"{roof / own:.2f}",
                *(digits(times[name] / own) if name in times else "-" for name in PEERS),
            )
        )
    return table((*head, *(f"{name} / rmsfast" for name in PEERS)), rows)


def variant_table() -> str:
    """Measure all variants, and return their table."""
    cells: dict[str, list[str]] = {name: [name, str(v.words)] for name, v in VARIANTS.items()}
    for n in VARIANT_SIZES:
        for name, v in VARIANTS.items():
            x, g = draw(n, np.float64)
            times = faster_triad(seconds({"rmsfast": ours(x, g, v), **triads(x, g, v)}))
            own = times["rmsfast"]
            cells[name] += [f"{1e9 * own / n:.3f}", f"{times[TRIAD] / own:.2f}"]
    head = ["variant", "words"]
    for n in VARIANT_SIZES:
        head += [f"ns, n = {n:,}", f"of the {TRIAD}"]
    return table(head, cells.values())


# Many arrays, small arrays, rows ------------------------------------------------------------------


def many_table(without: Iterable[str]) -> str:
    """Measure many arrays and one of 10 elements, and return the table."""
    x, g = draw(ARRAYS * ARRAYS, np.float64)
    xs, gs = (list(a.copy().reshape(ARRAYS, ARRAYS)) for a in (x, g))
    optimizer = RMSProp(lr=LR, rho=RHO, eps=EPS)
    small, small_g = draw(10, np.float64)
    mean_square, unused, h = np.zeros(10), np.empty(0), kernels.hyper(LR, rho=RHO, eps=EPS)
    calls: dict[str, Call] = {
        "many": lambda: optimizer.update(xs, gs),
        "one": ours(x, g, PLAIN),
        "small": ours(small, small_g, PLAIN),
        "kernel": lambda: kernels.update(small, small_g, mean_square, unused, unused, h),
    }
    if FOREACH not in without:
        calls |= {
            "torch many": torch_optimizer(xs, gs, foreach=True).step,
            "torch one": torch_optimizer([x], [g], foreach=True).step,
            "torch small": torch_optimizer([small], [small_g], foreach=True).step,
        }
    times = seconds(calls)
    for kind in ("", "torch "):
        if f"{kind}many" in times:
            times[f"{kind}above"] = (times[f"{kind}many"] - times[f"{kind}one"]) / ARRAYS
    rows = []
    for label, name in (
        (f"{ARRAYS:,} arrays of {ARRAYS:,} elements", "many"),
        (f"one array of {ARRAYS * ARRAYS:,} elements", "one"),
        ("what each of the arrays adds to the one", "above"),
        ("one array of 10 elements", "small"),
        ("the same by `kernels.update`", "kernel"),
    ):
        pair = times[name], times.get(f"torch {name}")
        theirs = ("-", "-")
        if pair[1] is not None:
            theirs = (f"{1e6 * pair[1]:.2f} us", f"{pair[1] / pair[0]:.1f}")
        rows.append((label, f"{1e6 * pair[0]:.2f} us", *theirs))
    return table(("float64", "rmsfast", FOREACH, f"{FOREACH} / rmsfast"), rows)


def row_table(without: Iterable[str]) -> str:
    """Measure the update of some rows, and return the table."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, WIDTH), np.float32)
    rows = rng.integers(ROWS, size=TOUCHED)
    g = rng.standard_normal((TOUCHED, WIDTH), np.float32)
    optimizer = RMSProp(lr=LR, rho=RHO, eps=EPS)
    by_numpy, s = x.copy(), np.zeros_like(x)

    def numpy_step() -> None:
        distinct, where = np.unique(rows, return_inverse=True)
        summed = np.zeros((distinct.size, WIDTH), np.float32)
        np.add.at(summed, where, g)
        new = RHO * s[distinct] + (1.0 - RHO) * summed * summed
        s[distinct] = new
        by_numpy[distinct] -= LR * summed / (np.sqrt(new) + EPS)

    calls: dict[str, Call] = {
        "rmsfast": lambda: optimizer.update_rows(x, rows, g),
        "NumPy": numpy_step,
    }
    if FOREACH not in without:
        import torch

        p = torch.nn.Parameter(torch.tensor(by_numpy))
        indices = torch.from_numpy(rows)[None]
        p.grad = torch.sparse_coo_tensor(
            indices, torch.from_numpy(g), p.shape, check_invariants=False
        )
        calls["torch.optim.SparseAdam"] = torch.optim.SparseAdam([p], lr=LR).step
    times = seconds(calls)
    own = times["rmsfast"]
    return table(
        (f"{TOUCHED:,} of {ROWS:,} rows", "us", "/ rmsfast"),
        ((name, digits(1e6 * value), digits(value / own)) for name, value in times.items()),
    )


def crossover_table() -> str:
    """Measure the serial and the parallel pass, and return the table."""
    cells: dict[int, list[str]] = {n: [f"{n:,}"] for n in CROSSOVER}
    for dtype in DTYPES:
        for n, row in cells.items():
            x, g = draw(n, dtype)
            one = Pass(0, RMSPropOptions(lr=LR, rho=RHO, eps=EPS), dtype, None)
            one.add(0, x, g, {"mean_square": np.ones_like(x)})
            one.close()
            one.point([x], [g])
            arguments = one.table, one.offsets, one.numbers
            serial, parallel = (cpu.update_pass(dtype, one.variant, p) for p in (False, True))
            times = seconds(
                {
                    "serial": functools.partial(serial, *arguments, 1),
                    "parallel": functools.partial(parallel, *arguments, numba.get_num_threads()),
                }
            )
            row += [f"{x.nbytes // 1024}", *(digits(1e6 * value) for value in times.values())]
    head = ["n"]
    for dtype in DTYPES:
        head += [f"{np.dtype(dtype)}, KiB", "serial, us", "parallel, us"]
    return table(head, cells.values())


# The picture --------------------------------------------------------------------------------------

LINES: dict[str, dict[str, Any]] = {
    ARITHMETIC: {"color": "0.4", "linestyle": ":", "linewidth": 1.4},
    TRIAD: {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.4},
    "rmsfast": {"color": plot.COLORS["blue"], "linewidth": 2.6, "zorder": 3},
    COMPILED: {"color": plot.COLORS["orange"], "linestyle": plot.DASHES[1]},
    OPTAX: {"color": plot.COLORS["green"], "linestyle": plot.DASHES[2]},
    FOREACH: {"color": plot.COLORS["vermillion"], "linestyle": plot.DASHES[3]},
    NUMPY: {"color": plot.COLORS["purple"], "linestyle": plot.DASHES[4]},
}


def draw_roofline(
    measured: dict[Any, dict[int, dict[str, float]]], per_element: dict[Any, float], path: Path
) -> None:
    """Draw the bandwidth of all contenders against n; below 1000 it is all overhead."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(DTYPES), sharey=True, figsize=(9.6, 4.4), layout="constrained"
    )
    ends: dict[Any, list[tuple[float, str, str]]] = {axes: [] for axes in panels}
    for dtype, axes in zip(DTYPES, panels, strict=True):
        for name, style in LINES.items():
            points = [
                (n, bandwidth(n, dtype, times[name]))
                for n, times in measured[dtype].items()
                if n >= 1000 and name in times
            ]
            if points:
                axes.plot(*zip(*points, strict=True), **{"linewidth": plot.WIDTH, **style})
                ends[axes].append((points[-1][1], name, style["color"]))
        roof = bandwidth(numba.get_num_threads(), dtype, per_element[dtype])
        axes.axhline(roof, **LINES[ARITHMETIC])
        ends[axes].append((roof, ARITHMETIC, LINES[ARITHMETIC]["color"]))
        axes.set_title(str(np.dtype(dtype)), loc="left", fontsize=11)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlim(1000, max(measured[dtype]))
        axes.set_xlabel("n")
        plot.open_frame(axes)
    for axes in panels:  # now that the scale they share is final
        plot.label_ends(axes, ends[axes], fontsize=9.0)
    panels[0].set_ylabel("GB/s")
    figure.savefig(path, dpi=160)
    plt.close(figure)


def main() -> str:
    """Measure, write the page and the picture, and return the tables."""
    reasons = missing(MAKERS)
    sizes = [n for n in SIZES if n < max(SIZES) or WORDS * 8 * n <= memory()]
    measured = {dtype: {n: one_array(n, dtype, reasons) for n in sizes} for dtype in DTYPES}
    per_element = {dtype: arithmetic(dtype) for dtype in DTYPES}
    by_dtype = [size_table(dtype, measured[dtype], per_element[dtype]) for dtype in DTYPES]
    many = many_table(reasons)
    FOLDER.mkdir(parents=True, exist_ok=True)
    draw_roofline(measured, per_element, FOLDER / "roofline.png")
    notes = "".join(f"\n{name}: {why}.\n" for name, why in reasons.items())
    if len(sizes) < len(SIZES):
        gigabytes = WORDS * 8 * max(SIZES) / 1e9
        notes += f"\n{max(SIZES):,} elements need {gigabytes:.0f} GB of free memory.\n"
    alone = " and ".join(f"{1e9 * t:.3f} ns in {np.dtype(d)}" for d, t in per_element.items())
    page = f"""# Time of one update

Every time is the median over {ROUNDS} rounds of the fastest timing; in each round the contenders
of a row or a table take turns, each after calls that warm it. Parameters and gradients are normal
random numbers, the gradients stay the same. All run with their default number of threads, which is
the number of cores.

## One array

`rmsfast.RMSProp(lr={LR}, rho={RHO}, eps={EPS}).update(x, g)`, in place. A plain update must move
{PLAIN.words} numbers per element: it reads parameter, gradient and mean square, and writes
parameter and mean square; GB/s counts these. The *triad* is a Numba loop that does nothing but
move them, `x[i] += c * g[i]; s[i] += c * g[i]`, serial or parallel, whichever is faster. In caches
a second roof is lower: a square root and a division per element, in a loop over 1,024 elements,
take {alone} on one thread.
*Of the roof* is measured by the slower of the two, the second divided by the number of threads.

The peers do the same steps, to 12 digits: NumPy with `out=` and one work array;
`torch.optim.RMSprop` with `foreach` or without, and its step in `torch.compile`, compiled for this
size; `optax.rmsprop` in `jax.jit`, which may write into its arguments. Their columns say how many
times faster rmsfast is.

{by_dtype[0]}

{by_dtype[1]}
{notes}
![GB/s of one update against n](roofline.png)

## Variants

float64. Words are the numbers an update must move per element; the triad moves as many. Gradients
that must be measured before the update are read twice.

{variant_table()}

## Many arrays, and small ones

{many}

## Rows

`update_rows` on a float32 table of {ROWS:,} x {WIDTH}, {TOUCHED:,} random rows, some of them twice.
NumPy adds the gradients of equal rows with `np.unique` and `np.add.at`, and indexes the table and
the mean square. `torch.optim.SparseAdam` is the nearest there is: its rule keeps two averages.

{row_table(reasons)}

## One thread, or all

The compiled loop of a plain update alone, called again and again, so that the threads of the
parallel one do not sleep. From {PARALLEL_BYTES // 1024} KiB of parameters on `update` takes all
threads.

{crossover_table()}

{machine()}

`python -m benchmarks.update` writes this page.
"""
    save("update.md", page)
    overview = f"{by_dtype[0]}\n\n{many}"
    print(overview)
    return overview


if __name__ == "__main__":
    main()
