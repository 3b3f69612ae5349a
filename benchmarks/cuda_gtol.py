"""A function of 1e7 variables on a GPU, to ``gtol``: what ``python -m benchmarks.cuda`` measures.

Two of Rosenbrock's functions, each as `rmsfast.Objective.from_terms`, with ``device="cuda"``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from benchmarks.cuda_updates import cell, cuda, look, microseconds, ratio, seconds, tell
from benchmarks.report import table, why
from benchmarks.update import Peer
from examples import cuda_rosenbrock
from rmsfast import Objective, rmsprop, schedules
from rmsfast.objectives import rosenbrock

SIZE = 10_000_000
STEPS = 2000  # of the schedule
FEW, MORE = 3, 33  # evaluations on the CPU: the time of one is their difference's
SAMPLED = 3.0  # seconds of runs, while nvidia-smi looks
LR, RHO, MOMENTUM = 0.01, 0.99, 0.9
RATES: dict[str, dict[str, Any]] = {
    "numeric": {
        "lr": schedules.cosine(LR, STEPS),
        "rho": RHO,
        "momentum": MOMENTUM,
        "maxiter": STEPS,
    },
    "auto": {"lr": "auto", "maxiter": 20_000, "maxfun": 20_000},
}


class Function(NamedTuple):
    """An objective, ``start(n)``, and ``gradient(x, g)``, by hand, for arrays and tensors."""

    objective: Objective
    start: Callable[[int], np.ndarray]
    gradient: Callable[[Any, Any], None]


def chained_gradient(x: Any, g: Any) -> None:
    """Write the gradient of the chained function."""
    r = x[1:] - x[:-1] * x[:-1]
    g[:-1] = 2.0 * (x[:-1] - 1.0) - 400.0 * x[:-1] * r
    g[-1] = 0.0
    g[1:] += 200.0 * r


def paired_gradient(x: Any, g: Any) -> None:
    """Write the gradient of the function of pairs."""
    r = x[1::2] - x[::2] * x[::2]
    g[::2] = 2.0 * (x[::2] - 1.0) - 400.0 * x[::2] * r
    g[1::2] = 200.0 * r


FUNCTIONS = {
    "chained": Function(
        rosenbrock.terms,
        lambda n: np.random.default_rng(0).uniform(0.0, 1.5, n),
        chained_gradient,
    ),
    "pairs": Function(
        cuda_rosenbrock.valleys, lambda n: np.resize([-1.2, 1.0], n), paired_gradient
    ),
}


# How busy the GPU is ------------------------------------------------------------------------------


def profiled(call: Callable[[], Any]) -> float:
    """Return the summed time of all kernels by the time of the call, as PyTorch's profiler sees."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("PyTorch finds no GPU")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        start = time.perf_counter()
        call()
        spent = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profile.export_chrome_trace(str(path))
        return kernel_seconds(json.loads(path.read_text())["traceEvents"]) / spent


def kernel_seconds(events: Iterable[dict[str, Any]]) -> float:
    """Return the summed time of the kernels of a trace, copies left out."""
    spent = [event["dur"] for event in events if event.get("cat") == "kernel"]
    if not spent:
        raise RuntimeError("the trace holds no kernel")
    return 1e-6 * sum(spent)


def sampled(call: Callable[[], Any]) -> float:
    """Return the share of time in which a kernel ran, as nvidia-smi says, while calls repeat."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        raise RuntimeError("there is no nvidia-smi")
    command = [
        tool,
        "--query-gpu=utilization.gpu",
        "--format=csv,noheader,nounits",
        "--loop-ms=100",
    ]
    command.append(f"--id={cuda.get_current_device().uuid}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sampler:
        try:
            end = time.perf_counter() + SAMPLED
            while time.perf_counter() < end:
                call()
        finally:
            sampler.terminate()
        shown, _ = sampler.communicate()
    values = [float(line) / 100.0 for line in shown.split()[10:]]  # the first look back
    if not values:
        raise RuntimeError("nvidia-smi says nothing")
    return float(np.mean(values))


WAYS = {"torch.profiler": profiled, "nvidia-smi": sampled}


def busy(call: Callable[[], Any]) -> tuple[float | str, str]:
    """Return how busy the GPU is during a call, and how that was measured; or why it was not."""
    reasons = []
    for name, way in WAYS.items():
        try:
            return way(call), name
        except Exception as error:  # of somebody else's tools: it is quoted
            reasons.append(f"{name}: {why(error)}")
    return "unknown", "; ".join(reasons)


# Parts --------------------------------------------------------------------------------------------


def to_gtol(name: str, rate: str) -> dict[str, Any]:
    """Return how a run on the GPU ended, its time, and the time of an evaluation on the CPU."""
    function, options = FUNCTIONS[name], RATES[rate]

    def run(x0: np.ndarray, **more: Any) -> tuple[Any, float]:
        start = time.perf_counter()
        result = minimize(
            function.objective, x0, jac=True, method=rmsprop, options={**options, **more}
        )
        return result, time.perf_counter() - start

    run(function.start(4), device="cuda")  # compiles
    x0 = function.start(SIZE)
    result, spent = run(x0, device="cuda")
    found = {
        "iterations": int(result.nit),
        "evaluations": int(result.nfev),
        "status": f"{result.status}, {result.message.split(':')[0].rstrip('.')}",
        "largest": float(np.abs(result.jac).max()),
        "seconds": spent,
    }
    tell(f"{name}, {rate}:", found)
    found["busy"], found["how"] = busy(lambda: run(x0, device="cuda"))
    tell(f"{name}, {rate}: GPU busy", found["busy"], found["how"])
    run(x0, maxfun=FEW)  # compiles
    few, more = (run(x0, maxfun=count)[1] for count in (FEW, MORE))
    found["cpu"] = (more - few) / (MORE - FEW) if more > few else "too noisy"
    tell(f"{name}, {rate}: an evaluation on the CPU, seconds:", found["cpu"])
    return found


def torch_loop(name: str, n: int, device: str = "cuda") -> Peer:
    """Return a step of a loop by hand in PyTorch: gradient and update, no value, no test."""
    import torch

    function = FUNCTIONS[name]
    x = torch.nn.Parameter(torch.tensor(function.start(n), device=device))
    x.grad = torch.zeros_like(x)
    optimizer = torch.optim.RMSprop([x], lr=LR, alpha=RHO, momentum=MOMENTUM, foreach=True)

    def step() -> None:
        with torch.no_grad():
            function.gradient(x, x.grad)
        optimizer.step()

    return Peer(step, lambda: x.detach().cpu().numpy(), cuda.synchronize)


def torch_steps() -> dict[str, float]:
    """Return the seconds of a step of these loops."""
    found = seconds({name: torch_loop(name, SIZE) for name in FUNCTIONS})
    tell("loops by hand in PyTorch, seconds of a step:", found)
    return found


# Table --------------------------------------------------------------------------------------------

HEAD = ("iterations", "evaluations", "status", "largest gradient", "time", "an evaluation, us")
HEAD += ("GPU busy", "on the CPU, us", "CPU / GPU", "torch loop, a step, us", "torch / rmsfast")


def gtol_table(found: dict[tuple[str, str], Any], loops: Any) -> str:
    """Return the table; `loops` are the steps by PyTorch."""
    rows = []
    for (name, rate), run in found.items():
        loop = look(loops, name) if rate == "numeric" else "-"
        if isinstance(run, str):
            cells = ["-", "-", run, *"-" * 6]
            each: Any = "-"
        else:
            each, cpu = run["seconds"] / run["evaluations"], run["cpu"]
            cells = [
                *(run[key] for key in ("iterations", "evaluations", "status")),
                f"{run['largest']:.1e}",
                f"{run['seconds']:.3f} s",
                microseconds(each),
                cell(run["busy"], form="{:.0%}".format),
                cell(cpu, form=microseconds),
                cell(cpu, each, form=ratio),
            ]
        theirs = cell(loop, form=microseconds), cell(loop, each, form=ratio)
        rows.append((f"{name}, {rate} lr", *cells, *theirs))
    return table((f"n = {SIZE:,}, float64", *HEAD), rows)


def ways(found: dict[tuple[str, str], Any]) -> str:
    """Return how it was measured how busy the GPU is, in sentences."""
    how = sorted({run["how"] for run in found.values() if not isinstance(run, str)})
    return "; ".join(how) or "nothing was measured"
