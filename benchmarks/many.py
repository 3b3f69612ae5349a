"""Many problems at once.

``python -m benchmarks.many`` measures `rmsfast.minimize_many`, each comparison in a new process
of its own, where all have the same cores and take turns:

- with a numeric learning rate, against `optax.rmsprop` under `jax.vmap` in a jitted
  `jax.lax.scan`, and against the same problems one after another in compiled code;
- with ``lr="auto"``, against loops over `scipy.optimize.minimize` and
  `scipy.optimize.least_squares`, on the spectra of ``examples/peak_fitting.py``;
- on one thread, two, and so on;
- on a million problems, with the memory that it takes.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from scipy.optimize import Bounds, least_squares, minimize

from benchmarks.peers import EPS, LR, RHO, naive_iterations, optax_iterations
from benchmarks.report import ROOT, cores, machine, save, table
from benchmarks.timing import medians, timed
from rmsfast import PerProblem, minimize_many, rmsprop
from rmsfast.objectives import rosenbrock

SIZES = (2, 10)
PROBLEMS, ITERATIONS = 10_000, 1000  # with a numeric learning rate
ALONE = 100  # of them one after another in Python
SPECTRA, SAMPLE = 20_000, 300  # fits, and those that SciPy's loops make
MILLION = 1_000_000
ROUNDS, REPEATS = 3, 3  # the median over rounds of the fastest of the repeats

Call = Callable[[], Any]


def process(
    part: str,
    *arguments: Any,
    module: str = "benchmarks.many",
    timeout: float | None = None,
    **variables: str,
) -> Any:
    """Run one part of a module in a new process and return what it found.

    Parameters
    ----------
    part, *arguments
        Of the command line of the module.
    module : str
        Its name.
    timeout : float, optional
        Seconds after which the process is killed, and `subprocess.TimeoutExpired` raised.
    **variables : str
        Of the environment.
    """
    devices = f"--xla_force_host_platform_device_count={cores()}"
    one = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")}
    shared = {"NUMBA_NUM_THREADS": str(cores()), "XLA_FLAGS": devices}
    environment = {**os.environ, **one, **shared, **variables}
    command = [sys.executable, "-m", module, part, *map(str, arguments)]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, timeout=timeout, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def seconds(calls: dict[str, Call]) -> dict[str, float]:
    """Return the time of one call of each, warm: medians over rounds of the fastest, in turn."""
    for call in calls.values():
        call()
    timings = {name: functools.partial(timed, call) for name, call in calls.items()}
    return medians(timings, ROUNDS, REPEATS)


# With a numeric learning rate


def starts(n: int, count: int) -> np.ndarray:
    """Return where the problems with `n` variables start."""
    return np.random.default_rng(n).uniform(-2.0, 2.0, (count, n))


def ours(n: int, workers: int | None = None, problems: int = PROBLEMS, device: str = "cpu") -> Call:
    """Return a call that makes `ITERATIONS` iterations of each problem."""
    how: dict[str, Any] = {"device": device}
    if device == "cpu":
        how |= {"workers": workers, "vectorize": True}
    objective, x0s = rosenbrock.of_size(n), starts(n, problems)
    limits = {"maxiter": ITERATIONS, "maxfun": ITERATIONS + 1, "gtol": 0.0}

    def call() -> None:
        found = minimize_many(objective, x0s, lr=LR, rho=RHO, eps=EPS, **limits, **how)
        if not (found.nit == ITERATIONS).all():
            raise RuntimeError(f"{found}")

    return call


def ours_alone(n: int) -> Call:
    """Return a call that makes `ITERATIONS` iterations of `ALONE` problems, in a Python loop."""
    objective, x0s = rosenbrock.of_size(n), starts(n, ALONE)
    limits = {"maxiter": ITERATIONS, "maxfun": ITERATIONS + 1, "gtol": 0.0}

    def call() -> None:
        for x0 in x0s:
            found = rmsprop(objective, x0, lr=LR, rho=RHO, eps=EPS, **limits)
            if found.nit != ITERATIONS:
                raise RuntimeError(found.message)

    return call


@numba.njit
def _naive_in_turn(x0s: np.ndarray, iterations: int) -> None:
    for k in range(x0s.shape[0]):
        naive_iterations(x0s[k], iterations)


def naive_alone(n: int) -> Call:
    """Return a call of the Numba loop one writes by hand, over `10 * ALONE` problems."""
    return lambda: _naive_in_turn(starts(n, 10 * ALONE), ITERATIONS)


def vmapped(
    n: int, *, by_jax: bool, problems_last: bool, sharded: bool, problems: int = PROBLEMS
) -> Call:
    """Return a call of optax under `jax.vmap`.

    Parameters
    ----------
    n : int
        Variables of a problem.
    by_jax : bool
        Whether the gradient is that of `jax.grad`, or written out.
    problems_last : bool
        Whether the last axis of the arrays is that of the problems, or of the variables.
    sharded : bool
        Whether each core is a device with a part of the problems, or XLA shares out the work.
    problems : int
        How many.
    """
    import jax

    run = optax_iterations(ITERATIONS, by_jax=by_jax)
    axis = 1 if problems_last else 0
    x0s = np.moveaxis(starts(n, problems), 0, axis)
    if sharded:
        mesh = jax.make_mesh((jax.device_count(),), ("problems",))
        names = [None, None]
        names[axis] = "problems"
        place: Any = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*names))
    else:
        place = jax.devices()[0]
    there = jax.device_put(x0s, place)
    together = jax.jit(jax.vmap(run, in_axes=axis, out_axes=axis))
    return lambda: np.asarray(together(there))


def numeric(n: int) -> dict[str, float]:
    """Return nanoseconds per iteration of one problem."""
    calls = {
        "many": ours(n),
        "one thread": ours(n, workers=1),
        "alone": ours_alone(n),
        "naive alone": naive_alone(n),
    }
    counts = {"alone": ALONE, "naive alone": 10 * ALONE}
    for by_jax in (False, True):
        for problems_last in (False, True):
            for sharded in (False, True):
                form = {"by_jax": by_jax, "problems_last": problems_last, "sharded": sharded}
                name = ", ".join(["jax", *(key for key, value in form.items() if value)])
                calls[name] = vmapped(n, **form)
    spent = seconds(calls)
    ns = {name: 1e9 * t / counts.get(name, PROBLEMS) / ITERATIONS for name, t in spent.items()}
    jax = {name: ns.pop(name) for name in list(ns) if name.startswith("jax")}
    ns["jax"] = min(value for name, value in jax.items() if "sharded" not in name)
    ns["jax, sharded"] = min(value for name, value in jax.items() if "sharded" in name)
    return ns


# With lr="auto"


@numba.njit(error_model="numpy")
def residuals(p: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """Return what `misfit` of the example adds up the squares of, for least_squares."""
    r = np.empty(roots.size)
    for i in range(roots.size):
        z = (i - p[1]) / p[2]
        r[i] = 2.0 * (np.sqrt(p[3] + p[0] * np.exp(-0.5 * z * z)) - roots[i])
    return r


@numba.njit(error_model="numpy")
def jacobian(p: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """Return the derivatives of `residuals`."""
    slopes = np.empty((roots.size, 4))
    for i in range(roots.size):
        z = (i - p[1]) / p[2]
        peak = np.exp(-0.5 * z * z)
        scale = 1.0 / np.sqrt(p[3] + p[0] * peak)
        slopes[i, 0] = scale * peak
        slopes[i, 1] = scale * p[0] * peak * z / p[2]
        slopes[i, 2] = slopes[i, 1] * z
        slopes[i, 3] = scale
    return slopes


def spectra(count: int) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """Return the example's objective, spectra, starts and bounds."""
    from examples import peak_fitting

    mean, _ = peak_fitting.model(peak_fitting.galaxy(count))
    counts = np.random.default_rng(1).poisson(mean).reshape(-1, peak_fitting.CHANNELS)
    return (
        peak_fitting.misfit,
        np.sqrt(counts + 0.25),
        peak_fitting.guess(counts),
        peak_fitting.BOX,
    )


def fitting(workers: int | None = None) -> Call:
    """Return a call that fits all spectra."""
    misfit, roots, x0s, box = spectra(SPECTRA)
    bounds, args = Bounds(*box), (PerProblem(roots),)
    return lambda: minimize_many(misfit, x0s, args, bounds=bounds, workers=workers)


def fits() -> dict[str, Any]:
    """Return microseconds per fit, and the share of fits as good as those of each loop."""
    misfit, roots, x0s, box = spectra(SPECTRA)
    bounds = Bounds(*box)
    sample = np.random.default_rng(0).choice(len(x0s), SAMPLE, replace=False)
    tolerances = {"gtol": 1e-5}

    def lbfgsb(k: int) -> float:
        return minimize(
            *(misfit, x0s[k], (roots[k],), "L-BFGS-B", True),
            bounds=bounds,
            options=tolerances,
        ).fun

    def bounded(k: int) -> float:
        return least_squares(residuals, x0s[k], jacobian, box, args=(roots[k],)).cost

    def unbounded(k: int) -> float:
        return least_squares(residuals, x0s[k], jacobian, method="lm", args=(roots[k],)).cost

    loops = {"lbfgsb": lbfgsb, "bounded": bounded, "unbounded": unbounded}
    calls = {"many": fitting(), "one thread": fitting(1)}
    found = calls["many"]()
    if not found.success.all():
        raise RuntimeError(f"{found}")
    share = {}
    for name, fit in loops.items():
        values = np.array([fit(k) for k in sample])
        share[name] = float(np.mean(found.fun[sample] <= (1.0 + 1e-9) * values))
        calls[name] = lambda fit=fit: [fit(k) for k in sample]
    spent = seconds(calls)
    counts = {name: SAMPLE if name in loops else len(x0s) for name in calls}
    return {
        "us": {name: 1e6 * t / counts[name] for name, t in spent.items()},
        "share": share,
        "evaluations": float(found.nfev.mean()),
        "fits": len(x0s),
    }


# Threads


def thread_counts() -> list[int]:
    """Return 1, 2, 4, ... and the number of cores."""
    counts = [2**k for k in range(cores().bit_length()) if 2**k < cores()]
    return [*counts, cores()]


def threads() -> dict[str, dict[str, float]]:
    """Return seconds of each task with each number of threads."""
    tasks = {"fits": fitting, **{f"n = {n}": (lambda w, n=n: ours(n, w)) for n in SIZES}}
    return {
        name: seconds({str(count): task(count) for count in thread_counts()})
        for name, task in tasks.items()
    }


# A million


def forget_peak() -> None:
    """Let the peak of memory begin at what is held now, where the system can do that."""
    if os.path.exists("/proc/self/clear_refs"):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Return the most bytes that this process has held."""
    try:  # not ru_maxrss, which on Linux begins with that of the parent
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def million(lr: str, iterations: int) -> dict[str, float]:
    """Return time and memory of a million problems in one call."""
    rate = {"lr": "auto"} if lr == "auto" else {"lr": float(lr), "gtol": 0.0}
    options = {**rate, "maxiter": iterations, "maxfun": 10 * iterations}
    objective = rosenbrock.of_size(2)
    minimize_many(objective, starts(2, 1000), **options)  # compiles
    x0s = starts(2, MILLION)
    forget_peak()
    before = peak_memory()
    start = time.perf_counter()
    found = minimize_many(objective, x0s, **options)
    spent = time.perf_counter() - start
    results = sum(value.nbytes for value in found.values() if isinstance(value, np.ndarray))
    return {
        "seconds": spent,
        "inputs": x0s.nbytes,
        "results": results,
        "beyond": peak_memory() - before - results,
        "solved": int(found.success.sum()),
        "iterations": int(found.nit.sum()),
    }


PARTS: dict[str, Callable[..., Any]] = {
    "numeric": lambda n: numeric(int(n)),
    "fits": fits,
    "threads": threads,
    "million": lambda lr, iterations: million(lr, int(iterations)),
}


def numeric_table(found: dict[int, dict[str, float]]) -> str:
    """Return the table of the numeric learning rate."""
    names = {
        "many": "minimize_many",
        "one thread": "minimize_many, workers=1",
        "jax, sharded": "jax.vmap, one device for each core",
        "jax": "jax.vmap",
        "naive alone": "one after another, Numba loop by hand",
        "alone": "one after another, rmsfast.rmsprop",
    }
    rows = []
    for key, name in names.items():
        row = [name]
        for ns in found.values():
            row += [f"{ns[key]:.2f} ns", f"{ns[key] / ns['many']:.1f}"]
        rows.append(row)
    head = ["iteration of a problem, numeric lr"]
    for n in found:
        head += [f"n = {n}", "minimize_many is times faster"]
    return table(head, rows)


def fits_table(found: dict[str, Any]) -> str:
    """Return the table of the fits."""
    names = {
        "many": "minimize_many",
        "one thread": "minimize_many, workers=1",
        "lbfgsb": "loop over L-BFGS-B",
        "bounded": "loop over least_squares",
        "unbounded": 'loop over least_squares, method="lm", no bounds',
    }
    us, share = found["us"], found["share"]
    rows = [
        (
            name,
            f"{us[key]:.1f} us",
            f"{1e6 / us[key]:.0f}",
            f"{us[key] / us['many']:.1f}",
            f"{100 * share[key]:.1f} %" if key in share else "",
        )
        for key, name in names.items()
    ]
    head = ("peak fitting", "a fit", "fits per second", "minimize_many is times faster")
    return table((*head, "its value as good or better"), rows)


def threads_table() -> str:
    """Measure and return the table of the threads."""
    found = process("threads")
    names = {"fits": "peak fitting", **{f"n = {n}": f"numeric lr, n = {n}" for n in SIZES}}
    rows = [
        (names[key], *(f"{spent['1'] / spent[str(count)]:.2f}" for count in thread_counts()))
        for key, spent in found.items()
    ]
    head = [f"{count} thread{'s' * (count > 1)}" for count in thread_counts()]
    return table(("times faster than one thread", *head), rows)


def million_table() -> str:
    """Measure and return the table of the million problems."""
    rows = []
    for lr, iterations in (("auto", 15_000), (str(LR), 50), (str(LR), 500)):
        found = process("million", lr, iterations)
        each = "to gtol" if lr == "auto" else f"{iterations} iterations"
        memory = (f"{found[key] / 2**20:.0f} MiB" for key in ("inputs", "results", "beyond"))
        rows.append(
            (
                f'lr="auto", {each}' if lr == "auto" else f"numeric lr, {each}",
                f"{found['iterations'] / MILLION:.1f}",
                f"{found['seconds']:.2f} s",
                *memory,
            )
        )
    head = ("a million problems, n = 2", "iterations", "time", "starts", "results")
    return table((*head, "memory beyond both"), rows)


def main() -> str:
    """Measure, write the page, and return the tables."""
    iterated = {n: process("numeric", n) for n in SIZES}
    first = numeric_table(iterated)
    per_second = (f"{1e3 / iterated[n]['many']:.0f} million at n = {n}" for n in SIZES)
    fitted = process("fits")
    second = fits_table(fitted)
    third = threads_table()
    fourth = million_table()
    page = f"""# Many problems

`rmsfast.minimize_many`, warm. Each table is measured in new processes, in which all peers take
turns: median over {ROUNDS} rounds of the fastest of {REPEATS} calls.

## With a numeric learning rate

{PROBLEMS} problems, the chained Rosenbrock function from random starts, {ITERATIONS} iterations
each, float64: time per iteration of one problem. `minimize_many`, here with `vectorize=True`, makes
{" and ".join(per_second)} of them per second.

`jax.vmap` is that of `optax.rmsprop` in a jitted `jax.lax.scan`, the fastest of four forms:
`jax.grad` or the gradient written out, problems in the first axis or in the last. As it comes it
uses little more than one core; with one device for each core, and the problems sharded over the
devices, it uses all {cores()}, as `minimize_many` does. One after another, on one core, are a
sample of the problems: by the Numba loop one would write by hand, in compiled code throughout,
and by `rmsfast.rmsprop` in a Python loop. rmsfast also keeps the best point of each problem,
stops at values that are not finite, and looks for limit cycles; the others only step.

{first}

## With lr="auto"

{fitted["fits"]} spectra of [examples/peak_fitting.py](../../examples/peak_fitting.py), a peak with
four parameters on 32 channels, with bounds; {fitted["evaluations"]:.1f} evaluations each on
average, and all successful. The loops take a sample of {SAMPLE}, from the same starts, on one
core as loops do: L-BFGS-B on the same compiled objective with `gtol=1e-5`; `least_squares` on
compiled residuals and Jacobian. They run with one BLAS thread: with four, on busy cores, L-BFGS-B
took hundreds of times as long. `method="lm"` (MINPACK) takes no bounds, which here it does
not need. As good: a value of at most 1 + 1e-9 times the loop's.

{second}

## Threads

{third}

## A million problems

One call, the Rosenbrock function of two variables from random starts, each row in a new process.
Memory is the growth of the peak resident set from just before the call, without the results.

{fourth}

{machine()}

`python -m benchmarks.many` writes this page.
"""
    save("many.md", page)
    overview = "\n\n".join((first, second, third, fourth))
    print(overview)
    return overview


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(PARTS[sys.argv[1]](*sys.argv[2:])))
    else:
        main()
