"""Programs for a GPU: what they say without one, and what of them runs without one."""

import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from processes import posix

import rmsfast
from benchmarks import cuda, cuda_gtol, cuda_updates, many, report
from benchmarks.update import PLAIN, VARIANTS, Peer, numpy_peer

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"

# Where a package is installed, the program looks further; where it is not, it says so
NO_GPU = {
    "-m benchmarks.cuda": r"This benchmark cannot run: .+\.",
    "examples/torch_update.py": r"This example cannot run: (PyTorch finds no GPU|there is no ).+\.",
    "examples/cupy_update.py": r"This example cannot run: (CuPy finds no GPU|there is no ).+\.",
}


def pages():
    return {path.name: path.stat().st_mtime_ns for path in (ROOT / "docs/benchmarks").iterdir()}


@pytest.mark.parametrize("program", NO_GPU)
def test_says_why_it_cannot_run(program):
    """In one sentence, with an exit code, and nothing is written."""
    before = pages()
    done = subprocess.run(
        [sys.executable, "-W", "error::Warning", *program.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "RMSFAST_CUDA": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert re.fullmatch(NO_GPU[program], done.stderr.removesuffix("\n"))
    assert pages() == before


def test_the_benchmark_says_what_the_package_says(monkeypatch):
    monkeypatch.setattr(cuda, "why_not", lambda: "there is no such thing: make one")
    with pytest.raises(SystemExit, match="cannot run: there is no such thing: make one\\.$"):
        cuda.main([])


@pytest.mark.parametrize("package", ["torch", "cupy"])
def test_example_names_the_package_that_it_needs(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    main = runpy.run_path(str(EXAMPLES / f"{package}_update.py"))["main"]
    with pytest.raises(SystemExit, match=f"there is no package {package}, install .+ for CUDA\\.$"):
        main()


class OnHost(rmsfast.RMSProp):
    """Takes tensors on the host, by the memory that they share with arrays."""

    def update(self, params, grads):
        params, grads = ([t.detach().numpy() for t in tensors] for tensors in (params, grads))
        super().update(params, grads)


def test_torch_example_on_the_host(monkeypatch):
    import torch

    names = runpy.run_path(str(EXAMPLES / "torch_update.py"))
    monkeypatch.setattr(rmsfast, "RMSProp", OnHost)
    losses, difference = names["train"](torch, "cpu")
    assert losses[-1] < 0.5 * losses[0]
    assert 0.0 < difference <= names["LIMIT"]


def test_torch_example_counts_ulps():
    import torch

    ulps = runpy.run_path(str(EXAMPLES / "torch_update.py"))["ulps"]
    ours = torch.tensor([0.5, 1.0 + 3 * 2.0**-23])
    assert ulps(torch, ours, torch.tensor([0.5, 1.0])) == 3.0


def test_cupy_example_on_the_host():
    names = runpy.run_path(str(EXAMPLES / "cupy_update.py"))
    matrix, right, solution = names["make_problem"](np.random.default_rng(0), rows=400)
    x, grads = names["solve"](np, matrix, right, None)
    assert len(grads) == names["STEPS"]
    assert_array_equal(x, names["follow"](grads))
    np.testing.assert_allclose(x, solution, atol=1e-3)


# The benchmark ------------------------------------------------------------------------------------

PAGE = """
import functools, json, pathlib, sys
from benchmarks import cuda, cuda_gtol, cuda_updates, many, report, update

def absent(*_):
    raise ImportError

def broken(*_):
    raise RuntimeError("no GPU")

def small(x, g):
    if x.size == 3:
        raise MemoryError("too | large\\nby far")
    return update.numpy_peer(x, g)

measured_on_device = many.ours

def ours(*args, device="cpu", **more):
    return measured_on_device(*args, device=device, **more) if device == "cuda" else (lambda: None)

report.FOLDER = pathlib.Path(sys.argv[1])
cuda.PAGE = report.FOLDER / "cuda.md"
others = ("clip_norm", "lr for each element")
cuda_updates.VARIANTS = {name: update.VARIANTS[name] for name in (*cuda_updates.NAMED, *others)}
cuda_updates.MAKERS = {
    cuda.CUPY: absent,
    update.FOREACH: update.numpy_peer,
    update.COMPILED: small,
    cuda.OPTAX: update.numpy_peer,
}
cuda_updates.SECONDS, cuda_updates.ROUNDS, cuda_updates.SIZES = 1e-9, 1, (3, 1000)
cuda_updates.OTHERS, cuda.GROUPS = ("float32", 3), ((10, 3), (1000,))
cuda_updates.free_memory()
cuda_updates.free_memory = lambda: 20_000.0
cuda_gtol.SIZE, cuda_gtol.FEW, cuda_gtol.MORE, cuda_gtol.SAMPLED = 4, 2, 4, 0.3
for options in cuda_gtol.RATES.values():
    options["maxiter"] = 3
cuda_gtol.torch_loop = functools.partial(cuda_gtol.torch_loop, device="cpu")
cuda_gtol.WAYS["torch.profiler"] = broken
many.ITERATIONS, many.ROUNDS, many.SIZES, many.ours = 3, 1, (2,), ours
cuda.PROBLEMS, cuda.fastest_vmap = (2,), broken
cuda.process = lambda deadline, part, *a: json.loads(json.dumps(cuda.part(part, *map(str, a))))
cuda.main(sys.argv[2:])
"""
NVIDIA_SMI = """#!/bin/sh
while :; do echo 50; sleep 0.01; done
"""


def cells(page, start):
    """The cells of the table whose first line begins so, without its head."""
    table = page[page.index(f"| {start}") :].split("\n\n")[0]
    return [[c.strip() for c in row.split("|")[1:-1]] for row in table.splitlines()[2:]]


def numbers(row):
    return [float(cell.rstrip("s% ").replace(",", "")) for cell in row]


@posix
def test_the_page_in_the_simulator(run_python, tmp_path):
    """Few elements, problems and steps; the peers are stand-ins, and so is nvidia-smi."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(NVIDIA_SMI)
    tool.chmod(0o755)
    environment = {"NUMBA_ENABLE_CUDASIM": "1", "RMSFAST_CUDA": ""}
    environment["PATH"] = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    shown = run_python(PAGE, tmp_path, **environment)
    page = (tmp_path / "cuda.md").read_text()
    titles = ["One array", "A large problem", "Variants", "Many problems", "Further variants"]
    for text in (shown, page):
        assert re.findall(r"^## ([^,\n]+)", text, re.MULTILINE) == titles
        assert "Left out: CuPy fused, not installed.\n" in text
    for dtype in ("float32", "float64"):
        row, beyond = cells(page, f"n, {dtype}")
        assert row[0] == "3"
        assert row[6:8] == ["MemoryError: too / large", "not installed"]
        assert all(number >= 0.0 for number in numbers(row[1:6] + row[8:]))
        assert beyond[:2] == ["1,000", "needs 0 of 0 GB"]
        assert beyond[-2:] == ["not installed", "needs 0 of 0 GB"]
    own = [cuda_updates.OURS, cuda_updates.RAW]
    assert [row[0] for row in cells(page, "a step, n = 10")] == [*own, *cuda.PEERS]
    for dtype in ("float32", "float64", "float16"):
        rows = cells(page, f"variant, {dtype}")
        assert [row[0] for row in rows] == list(cuda_updates.NAMED)
        for row in rows:
            assert all(number >= 0.0 for number in numbers(row[1:5]))
            assert row[5:] == ["needs 0 of 0 GB"] * 3
    rows = cells(page.split("## Further variants")[1], "variant, float32")
    assert [row[0] for row in rows] == ["clip_norm", "lr for each element"]
    rows = {row[0]: row for row in cells(page, "n = 4, float64")}
    assert list(rows) == [
        f"{f}, {lr} lr" for f in ("chained", "pairs") for lr in ("numeric", "auto")
    ]
    for name in ("chained", "pairs"):
        row = rows[f"{name}, numeric lr"]
        assert row[1:4] == ["3", "4", "1, Maximum number of iterations (maxiter) has been exceeded"]
        assert row[7] == "50%"
        assert numbers(row[4:7] + row[10:])
        assert row[8] == "too noisy" or numbers(row[8:10])
    (row,) = cells(page, "an iteration")
    assert row[0] == "2 problems, n = 2"
    assert row[3] == row[5] == "RuntimeError: no GPU"
    assert numbers([row[2], row[4]])


def test_bytes_that_an_update_moves():
    """Words where all is of one type; half as many for float16 in parameters and gradients."""
    for v in VARIANTS.values():
        assert cuda_updates.moved(v, "float64") == 8 * v.words
        assert cuda_updates.moved(v, "float32") == 4 * v.words
    assert cuda_updates.moved(PLAIN, "float16") == 3 * 2 + 2 * 4
    assert cuda_updates.moved(VARIANTS["lr for each element"], "float16") == 3 * 2 + 3 * 4
    held = [cuda_updates.held(PLAIN, dtype) for dtype in ("float64", "float32", "float16")]
    assert held == [24, 12, 8]


def test_tables_of_made_up_times(monkeypatch):
    n = 10**8
    bound = n * 20 / 1e12  # seconds at 1000 GB/s
    copy = 2 * cuda_updates.copy_size(n * 20) / 2e12  # 2000 GB/s
    times = {cuda_updates.OURS: bound, cuda_updates.COPY: copy, cuda.PEERS[0]: 3 * bound}
    monkeypatch.setattr(cuda_updates, "SIZES", (n, 10 * n))
    found, without = {str(n): times, str(10 * n): "too large"}, {cuda.PEERS[1]: "not installed"}
    first, second = cells(cuda_updates.size_table("float32", found, without), "n, float32")
    speed = ["2,000", "1,000", "2,000", "0.50"]
    assert first == ["100,000,000", *speed, "3.00", "not installed", "-", "-"]
    assert second == ["1,000,000,000", *["too large"] * 5, "not installed", *["too large"] * 2]

    text = cuda_updates.variant_table("float32", {"plain": {str(n): times}}, ["plain"], [n])
    assert cells(text, "variant") == [["plain", "20", *speed[1:]]]

    monkeypatch.setattr(cuda, "PROBLEMS", (1000,))
    ns = {"1000": {"cuda": 0.5, "cpu": 10.0}}
    (row,) = cells(cuda.problem_table({2: ns}, {}), "an iteration")
    assert row == ["1,000 problems, n = 2", "2,000", "0.5000", "-", "10.0000", "-", "20.0"]

    small = {"10": {cuda_updates.OURS: 5e-6, cuda_updates.RAW: 4e-6}}
    rows = cells(cuda_updates.launch_table({"float32": small}, {}), "a step")
    assert rows[:3] == [["rmsfast", "5.00"], [cuda_updates.RAW, "4.00"], [cuda.PEERS[0], "-"]]

    run = {"iterations": 9, "evaluations": 10, "status": "0, well", "largest": 1e-6, "how": "so"}
    run |= {"seconds": 0.02, "busy": 0.5, "cpu": 0.04}
    found = {("chained", "numeric"): run, ("chained", "auto"): "no time left"}
    first, second = cells(cuda_gtol.gtol_table(found, {"chained": 0.004}), "n = ")
    assert first[1:7] == ["9", "10", "0, well", "1.0e-06", "0.020 s", "2,000"]
    assert first[7:] == ["50%", "40,000", "20.0", "4,000", "2.00"]
    assert second == ["chained, auto lr", "-", "-", "no time left", *"-" * 8]
    assert cuda_gtol.ways(found) == "so"


def test_a_batch_waits_once_before_and_once_after():
    calls = []
    peer = Peer(lambda: calls.append("step"), np.empty, lambda: calls.append("wait"))
    assert cuda_updates.per_step(peer, 3) > 0
    assert calls == ["wait", "step", "step", "step", "wait"]


def test_peers_that_cannot_run_or_take_another_step(monkeypatch):
    def other(x, g):
        return numpy_peer(x, 2.0 * g + 1.0)

    def silent(x, g):
        raise AssertionError  # without a text

    monkeypatch.setattr(
        cuda_updates, "MAKERS", {"same": numpy_peer, "other": other, "silent": silent}
    )
    reasons = {"other": "RuntimeError: other takes another step", "silent": "AssertionError: "}
    assert cuda_updates.missing() == reasons


def test_a_part_that_fails_leaves_its_reason(monkeypatch):
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    monkeypatch.setenv("RMSFAST_CUDA", "")
    soon = time.monotonic() + 60.0
    assert cuda.process(soon, "card") == "Simulated: no times."
    assert cuda.process(soon, "gtol", "no such", "auto") == "KeyError: 'no such'"
    assert cuda.process(soon - 61.0, "card") == "no time left"

    def fail(*_, **more):
        raise error

    monkeypatch.setattr(many, "process", fail)
    error = subprocess.TimeoutExpired("python", 5.0)
    assert re.fullmatch(r"stopped after \d+ s", cuda.process(soon, "card"))
    error = subprocess.CalledProcessError(-9, "python")
    assert cuda.process(soon, "card") == "ended with exit status -9"


def test_a_section_replaces_its_own_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    monkeypatch.setattr(cuda, "PAGE", tmp_path / "cuda.md")
    for title, text in (("Variants", "old"), ("One array", "| 1 |"), ("Variants", "new\n")):
        cuda.write(title, text)
    assert cuda.written() == {"One array": "| 1 |\n\n", "Variants": "new\n"}


# A large problem ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cuda_gtol.FUNCTIONS)
def test_the_loop_in_pytorch_takes_the_same_steps(name):
    function = cuda_gtol.FUNCTIONS[name]
    x0, g = function.start(6), np.empty(6)
    function.gradient(x0, g)
    np.testing.assert_allclose(g, function.objective(x0)[1], rtol=1e-12)

    loop = cuda_gtol.torch_loop(name, 6, device="cpu")
    for _ in range(3):
        loop.step()
    options = {"lr": cuda_gtol.LR, "rho": cuda_gtol.RHO, "momentum": cuda_gtol.MOMENTUM}
    expected = rmsfast.rmsprop(function.objective, x0, jac=True, maxiter=3, **options).x_last
    np.testing.assert_allclose(loop.params(), expected, rtol=1e-12)


@pytest.mark.parametrize("rate", cuda_gtol.RATES)
@pytest.mark.parametrize("name", cuda_gtol.FUNCTIONS)
def test_large_problems_reach_gtol(name, rate):
    function = cuda_gtol.FUNCTIONS[name]
    options = cuda_gtol.RATES[rate]
    assert (
        rmsfast.rmsprop(function.objective, function.start(1000), jac=True, **options).status == 0
    )


def test_kernels_of_a_trace():
    """As PyTorch's profiler writes it: microseconds."""
    trace = [{"cat": "kernel", "dur": 2}, {"cat": "gpu_memcpy", "dur": 50}, {"name": "process"}]
    assert cuda_gtol.kernel_seconds([*trace, {"cat": "kernel", "dur": 0.5}]) == pytest.approx(
        2.5e-6
    )
    with pytest.raises(RuntimeError, match="the trace holds no kernel"):
        cuda_gtol.kernel_seconds(trace[1:])


def test_the_fastest_form_in_jax(monkeypatch):
    monkeypatch.setattr(many, "ITERATIONS", 2)
    found = cuda.fastest_vmap(2, 3)()
    assert found.shape in ((3, 2), (2, 3))
