"""Programs for a GPU: what they say without one, and what of them runs without one."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import rmsfast
from benchmarks import cuda
from benchmarks.update import PLAIN, VARIANTS

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
        cuda.main()


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
import json, sys
from benchmarks import cuda, many, update

def absent(*_):
    raise ImportError

def broken(*_):
    raise RuntimeError("no GPU")

measured_on_device = many.ours

def ours(*args, device="cpu", **more):
    return measured_on_device(*args, device=device, **more) if device == "cuda" else (lambda: None)

cuda.VARIANTS = {name: update.VARIANTS[name] for name in sys.argv[1:]}
cuda.MAKERS = {cuda.FOREACH: update.numpy_peer, cuda.CUPY: absent, cuda.OPTAX: broken}
cuda.SECONDS, cuda.ROUNDS, cuda.SIZES, cuda.PROBLEMS = 1e-9, 1, (3,), (2,)
many.ITERATIONS, many.ROUNDS, many.REPEATS, many.SIZES, many.ours = 3, 1, 1, (2,), ours
cuda.process = lambda part, *a: json.loads(json.dumps(cuda.PARTS[part](*map(str, a))))
cuda.save = lambda name, text: print(name, text, sep="\\n")
cuda.main()
"""


def test_the_page_in_the_simulator(run_python):
    """Few elements, problems and steps; the peers are stand-ins, JAX and the CPU are left out."""
    names = ["plain", "centered, momentum", "clip_norm", "lr for each element"]
    page = run_python(PAGE, *names, NUMBA_ENABLE_CUDASIM="1", RMSFAST_CUDA="")
    assert page.startswith("cuda.md\n# On a GPU\n")
    assert "Left out: CuPy fused, not installed.\n" in page
    assert "Left out: optax, RuntimeError: no GPU.\n" in page
    page = page[: page.index("`python -m benchmarks.cuda` writes this page.")]
    for dtype in ("float32", "float64"):
        (row,) = re.findall(rf"n, {dtype} .*\n.*\n\| 3 +(\|.*)\n", page)
        times = [cell.strip() for cell in row.strip("|").split("|")]
        assert times[5:] == ["-", "-", "-"]
        assert all(float(cell.replace(",", "")) > 0 for cell in times[:5])
    for dtype in ("float32", "float64", "float16"):
        _, rows = page.split(f"| variant, {dtype} ")
        rows = rows.split("\n\n")[0].splitlines()[2:]
        assert [row.split("|")[1].strip() for row in rows] == names
        assert not any("-" in row.split("|")[3] for row in rows)
    assert re.search(r"\| kernels\.cuda\.update +\| +[\d.,]+ \| +[\d.,]+ \|", page)
    assert re.search(r"\| 2 problems, n = 2 +\| +[\d.]+ \| +- \|", page)


def test_bytes_that_an_update_moves():
    """Words where all is of one type; half as many for float16 in parameters and gradients."""
    for v in VARIANTS.values():
        assert cuda.moved(v, "float64") == 8 * v.words
        assert cuda.moved(v, "float32") == 4 * v.words
    assert cuda.moved(PLAIN, "float16") == 3 * 2 + 2 * 4
    assert cuda.moved(VARIANTS["lr for each element"], "float16") == 3 * 2 + 3 * 4
    assert [cuda.held(PLAIN, dtype) for dtype in ("float64", "float32", "float16")] == [24, 12, 8]


def test_tables_of_made_up_times():
    n = 10**8
    bound = n * 20 / 1e12  # seconds at 1000 GB/s
    copy = 2 * cuda.copy_size(n * 20) / 2e12  # 2000 GB/s
    times = {cuda.OURS: bound, cuda.COPY: copy, cuda.FOREACH: 3 * bound}
    table = cuda.size_table("float32", {n: times, 10 * n: {}})
    first, second = ([c.strip() for c in row.split("|")[1:-1]] for row in table.splitlines()[2:])
    assert first == ["100,000,000", "2,000", "1,000", "2,000", "0.50", "3.00", "-", "-", "-"]
    assert second == ["1,000,000,000", *"-" * 8]

    ns = {"cuda": 0.5, "cpu": 10.0}
    row = cuda.problem_table({(2, 1000): ns}).splitlines()[-1]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells == ["1,000 problems, n = 2", "0.5000", "-", "10.0000", "-", "20.0"]

    small = cuda.launch_table({"float32": {cuda.OURS: 5e-6, cuda.RAW: 4e-6}}).splitlines()[2:]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in small]
    assert cells[:3] == [["rmsfast", "5.00"], [cuda.RAW, "4.00"], [cuda.FOREACH, "-"]]


def test_a_batch_waits_once_before_and_once_after():
    calls = []
    peer = cuda.Peer(lambda: calls.append("step"), np.empty, lambda: calls.append("wait"))
    assert cuda.per_step(peer, 3) > 0
    assert calls == ["wait", "step", "step", "step", "wait"]
