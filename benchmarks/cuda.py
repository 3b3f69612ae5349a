"""Updates, large problems and many problems on a GPU.

``python -m benchmarks.cuda`` needs one, and without one says so and ends; ``python -m benchmarks``
leaves it out. It measures, each part in a new process, where all take turns:

- ``array``: the update of arrays of 1e6 to 1e9 elements, beside a copy on the device that moves as
  many bytes, PyTorch, a fused kernel of CuPy and optax; and of 10 elements, which is all overhead;
- ``gtol``: functions of 1e7 variables to ``gtol``, beside the CPU and a loop in PyTorch;
- ``variants``: variants of the update against that copy;
- ``many``: `rmsfast.minimize_many` with ``device="cuda"``, against `jax.vmap` and the CPU;
- ``others``: the update with all other options, at one size.

``--only`` takes some of these, and keeps the others of the page. Rows are shown as soon as they are
there; the page is written after each part. When ``--seconds`` are over, what is left is left out.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks import cuda_gtol, cuda_updates, many
from benchmarks.cuda_updates import CUPY, PEERS, cell, cuda, look, ratio, tell
from benchmarks.report import FOLDER, PACKAGES, machine, save, table, why
from benchmarks.timing import medians, timed
from benchmarks.update import OPTAX
from rmsfast.core.cuda.target import SIMULATED, why_not

PAGE = FOLDER / "cuda.md"
SECONDS = 510  # of the whole run
LIMIT = 150  # of one part
DTYPES = ("float32", "float64")
GROUPS = ((10, 10**6, 10**7, 10**8), (10**9,))  # sizes that share a process
PROBLEMS = (10_000, 1_000_000)
INSTALLED = (*PACKAGES, "numba-cuda", "cupy", "cupy-cuda12x", "cupy-cuda13x", "triton")

Run = Callable[..., Any]  # `process`, with its deadline


def process(deadline: float, part: str, *arguments: Any) -> Any:
    """Run one part in a new process, where JAX does not take most of the memory at once.

    Returns what it found, or in one text why there is nothing.
    """
    left = min(LIMIT, deadline - time.monotonic())
    if left <= 0.0:
        return "no time left"
    tell(f"{part} {' '.join(map(str, arguments))}")
    variables = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        return many.process(part, *arguments, module="benchmarks.cuda", timeout=left, **variables)
    except subprocess.TimeoutExpired:
        return f"stopped after {left:.0f} s"
    except subprocess.CalledProcessError as error:
        return f"ended with exit status {error.returncode}"


# Parts --------------------------------------------------------------------------------------------


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


def fastest_vmap(n: int, count: int) -> many.Call:
    """Return the fastest of four forms of the same by JAX, warm."""
    forms = []
    for by_jax in (False, True):
        for last in (False, True):
            form = many.vmapped(n, by_jax=by_jax, problems_last=last, sharded=False, problems=count)
            form()
            forms.append(form)
    return min(forms, key=timed)


def problems(n: int, count: int, without: Iterable[str]) -> dict[str, Any]:
    """Return nanoseconds per iteration of one problem."""
    calls = {
        "cuda": many.ours(n, problems=count, device="cuda"),
        "cpu": many.ours(n, problems=count),
    }
    reasons = {}
    if OPTAX not in without:
        try:
            calls["jax"] = fastest_vmap(n, count)
        except Exception as error:  # of memory: it is quoted
            traceback.print_exc()
            reasons["jax"] = why(error)
    for call in calls.values():
        call()
    timings = {name: functools.partial(timed, call) for name, call in calls.items()}
    spent = medians(timings, many.ROUNDS)
    return {**reasons, **{k: 1e9 * t / count / many.ITERATIONS for k, t in spent.items()}}


def all_problems(n: int, without: Iterable[str]) -> dict[str, Any]:
    """Return `problems` by their number."""
    found = {}
    for count in PROBLEMS:
        found[str(count)] = problems(n, count, without)
        tell(f"{count:,} problems, n = {n}, ns:", found[str(count)])
    return found


PARTS: dict[str, Callable[..., Any]] = {
    "card": card,
    "missing": cuda_updates.missing,
    "sizes": lambda dtype, group, *without: cuda_updates.sizes(dtype, GROUPS[int(group)], without),
    "named": cuda_updates.named,
    "others": cuda_updates.others,
    "gtol": cuda_gtol.to_gtol,
    "torch": cuda_gtol.torch_steps,
    "many": lambda n, *without: all_problems(int(n), without),
}


def part(name: str, *arguments: str) -> Any:
    """Return what one part finds, or why it finds nothing."""
    try:
        return PARTS[name](*arguments)
    except Exception as error:  # the others go on
        traceback.print_exc()
        return why(error)


# Sections of the page -----------------------------------------------------------------------------


def array_section(run: Run, reasons: dict[str, str]) -> str:
    """Measure one array, large and small."""
    found: dict[str, Any] = {}
    tables = []
    for dtype in DTYPES:
        found[dtype] = {}
        for k, group in enumerate(GROUPS):
            sized = run("sizes", dtype, k, *reasons)
            found[dtype] |= {str(n): look(sized, str(n)) for n in group}
        tables.append(cuda_updates.size_table(dtype, found[dtype], reasons))
    small = cuda_updates.launch_table(found, reasons)
    most = f"{cuda_updates.COPY_BYTES / 2**30:.0f} GiB"
    return f"""Every time of an update is the median over {cuda_updates.ROUNDS} rounds, in which the
contenders of a row take turns, of about {1e3 * cuda_updates.SECONDS:.0f} ms of steps after each
other, from the start of the first until the device has ended the last, divided by their number.
Parameters and gradients are normal random numbers, of which large arrays repeat
{cuda_updates.DRAWN:,}; the gradients stay the same. Peers are there where their arrays fit the
memory beside those of the contenders to their left.

The copy moves as many bytes from one array on the device to another, {most} at most, which is
read and written. The update reads and writes the parameters and the mean square, and reads the
gradient. `{OPTAX}` is `optax.rmsprop` in `jax.jit` with donated arguments;
`{CUPY}` is the formula in one `cupy.ElementwiseKernel`. They take the same steps.

{tables[0]}

{tables[1]}

What a step costs where there is nothing to do: the time between two starts, without waiting in
between.

{small}"""


def gtol_section(run: Run, reasons: dict[str, str]) -> str:
    """Measure large problems."""
    names, rates = cuda_gtol.FUNCTIONS, cuda_gtol.RATES
    found = {(name, rate): run("gtol", name, rate) for name in names for rate in rates}
    lr = f"`schedules.cosine({cuda_gtol.LR}, {cuda_gtol.STEPS})`"
    return f"""Two of Rosenbrock's functions as `Objective.from_terms`: the chained one from
a random start in [0, 1.5], and that of
[examples/cuda_rosenbrock.py](../../examples/cuda_rosenbrock.py), of pairs, from the standard start.
`gtol` is 1e-5. The numeric `lr` is {lr}, with momentum
{cuda_gtol.MOMENTUM} and rho {cuda_gtol.RHO}; a constant one never reaches `gtol`.
Time is that of one call of `minimize`, warm, with the copies to and from the GPU.
On the CPU an evaluation, with its update, on all threads: what {cuda_gtol.MORE} of them take beyond
{cuda_gtol.FEW}, divided by their number. The loop in PyTorch is `torch.optim.RMSprop` with
`foreach` and the gradient written out in tensors: no value, no test of `gtol`, a constant `lr`.

How busy the GPU is, in a further run. With torch.profiler: the summed time of all kernels, copies
left out, divided by the time of the call. With nvidia-smi: the share of the last sampling period of
the driver in which any kernel ran, averaged over {cuda_gtol.SAMPLED:.0f} s of calls after each
other. Measured here with: {cuda_gtol.ways(found)}.

{cuda_gtol.gtol_table(found, run("torch"))}"""


def variants_section(run: Run, reasons: dict[str, str]) -> str:
    """Measure the most used variants."""
    names, numbers = cuda_updates.NAMED, cuda_updates.SIZES
    tables = (
        cuda_updates.variant_table(dtype, run("named", dtype), names, numbers)
        for dtype in cuda_updates.COMPUTED
    )
    return """Bandwidth of the update, of a copy of as many bytes, and the first as a fraction of
the second. `bytes` are those that an element moves; float16 has accumulators in float32.

""" + "\n\n".join(tables)


def others_section(run: Run, reasons: dict[str, str]) -> str:
    """Measure the other variants."""
    dtype, n = cuda_updates.OTHERS
    names = [name for name in cuda_updates.VARIANTS if name not in cuda_updates.NAMED]
    return cuda_updates.variant_table(dtype, run("others"), names, (n,))


def many_section(run: Run, reasons: dict[str, str]) -> str:
    """Measure many problems."""
    found = {n: run("many", n, *reasons) for n in many.SIZES}
    return f"""Time per iteration of one problem, the chained Rosenbrock function from random
starts, {many.ITERATIONS} iterations each, numeric `lr`, float64; median over {many.ROUNDS} calls.
`jax.vmap` is that of `optax.rmsprop` in a jitted `jax.lax.scan` on the same GPU, the fastest of
four: `jax.grad` or the gradient written out, problems in the first axis or in the last. Its starts
are on the device before, and results are copied to the host; rmsfast copies both within the time,
keeps the best point of each problem, stops at values that are not finite, and looks for limit
cycles. On the CPU `minimize_many` uses all cores.

{problem_table(found, reasons)}"""


def problem_table(found: dict[int, Any], reasons: dict[str, str]) -> str:
    """Return the table of many problems."""
    rows = []
    for n, by_count in found.items():
        for count in PROBLEMS:
            ns = {name: look(by_count, str(count), name) for name in ("cuda", "jax", "cpu")}
            ns["jax"] = reasons.get(OPTAX) or ns["jax"]
            million = cell(ns["cuda"], form=lambda value: f"{1e3 / value:,.0f}")
            cells = [cell(value, form="{:.4f}".format) for value in ns.values()]
            cells += [cell(ns[name], ns["cuda"], form=ratio) for name in ("jax", "cpu")]
            rows.append((f"{count:,} problems, n = {n}", million, *cells))
    head = ("an iteration", "million per second", 'device="cuda", ns', "jax.vmap, ns", "CPU, ns")
    return table((*head, 'jax.vmap / "cuda"', 'CPU / "cuda"'), rows)


SECTIONS: dict[str, tuple[str, Callable[[Run, dict[str, str]], str]]] = {
    "array": ("One array", array_section),
    "gtol": ("A large problem", gtol_section),
    "variants": ("Variants", variants_section),
    "many": ("Many problems", many_section),
    "others": ("Further variants", others_section),
}


def written() -> dict[str, str]:
    """Return the sections of the page that is there, by their titles."""
    if not PAGE.exists():
        return {}
    _, *parts = re.split(r"^## (.+)\n\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def write(title: str, text: str) -> None:
    """Write one section into the page, and leave the others as they are."""
    texts = {**written(), title: text}
    parts = [
        f"## {name}\n\n{texts[name].strip()}" for name, _ in SECTIONS.values() if name in texts
    ]
    head = "# On a GPU\n\n`python -m benchmarks.cuda` writes this page."
    save(PAGE.name, "\n\n".join([head, *parts]))


def main(arguments: list[str] | None = None) -> None:
    """Measure, showing and writing what is found as soon as it is there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="default: %(default)s")
    chosen = parser.parse_args(arguments)
    if reason := why_not():
        sys.exit(f"This benchmark cannot run: {reason}.")
    run = functools.partial(process, time.monotonic() + chosen.seconds)
    where = f"{run('card')} {machine(INSTALLED)}"
    found = run("missing")
    reasons = dict.fromkeys(PEERS, found) if isinstance(found, str) else found
    notes = "".join(f"Left out: {name}, {reason}.\n" for name, reason in reasons.items())
    print(f"{where}\n{notes}", flush=True)
    for name in chosen.only:
        title, measure = SECTIONS[name]
        start = time.monotonic()
        text = measure(run, reasons)
        spent = time.monotonic() - start
        print(f"## {title}, {spent:.0f} s\n\n{text}\n", flush=True)
        write(title, f"{text}\n\n{notes}\n{where} It took {spent:.0f} s.")


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in PARTS:
        print(json.dumps(part(*sys.argv[1:])))
    else:
        main()
