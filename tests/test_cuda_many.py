"""Many problems on a GPU: run by Numba's simulator, and compiled to PTX without a GPU."""

import math
import pickle
import re
import runpy
from pathlib import Path

import numba
import numpy as np
import pytest
from cuda_types import CAPABILITIES, NEWEST
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import Bounds

import rmsfast
from rmsfast import PerProblem, minimize_many
from rmsfast.core import status
from rmsfast.core.cuda import many as kernels
from rmsfast.core.queue import Found, Problems, Start
from rmsfast.core.solver import STATE, rows
from rmsfast.objectives import ALL, rosenbrock, sphere

STARTS = np.random.default_rng(0).uniform(-1.0, 1.0, (7, 2))


@rmsfast.Objective
def valley(x, g, centres, depth, weights, power=2):
    """A bowl round ``centres``; every argument has a part in it."""
    f = depth
    for i in range(x.size):
        d = x[i] - centres[i]
        f += weights[0][i] * d**power
        g[i] = power * weights[0][i] * d ** (power - 1)
    return f


@rmsfast.Objective
def walled(x, g, wall):
    """A slope that is not a number beyond the wall."""
    g[0] = 1.0
    g[1] = 0.0
    return x[0] if x[0] > wall else math.nan


@rmsfast.Objective
def raising(x, g, limit):
    """A bowl that raises far from its centre."""
    if abs(x[0]) > limit:
        raise ValueError("too far")
    g[0], g[1] = x[0], x[1]
    return 0.5 * (x[0] * x[0] + x[1] * x[1])


@rmsfast.Objective
def writing(x, g):
    """Writes where it must only read."""
    x[0] = g[0] = g[1] = 0.0
    return 0.0


@rmsfast.Objective
def hinted(x, g, word):
    """Takes a word."""
    g[0] = g[1] = 0.0
    return 0.0 * len(word)


def centred(x0s, n=2):
    """Arguments of `valley`: two of each problem, one shared tuple, one default."""
    rng = np.random.default_rng(1)
    depth = PerProblem(np.arange(float(len(x0s))))
    return PerProblem(rng.normal(size=(len(x0s), n))), depth, (np.arange(1.0, n + 1.0), 3)


def step(k):
    """A schedule."""
    return 0.1 / (1.0 + k)


def broken(k):
    """A schedule that fails."""
    if k >= 40:
        raise ValueError(f"no rate for step {k}")
    return 0.01


LOWER = np.linspace(-2.0, -1.0, 14).reshape(7, 2)
CASES = {
    "auto": (rosenbrock, STARTS, (), {}),
    "spectral": (rosenbrock, STARTS, (), {"maxcor": 0}),
    "numeric": (rosenbrock, STARTS, (), {"lr": 0.01, "maxiter": 60}),
    "momentum": (
        *(rosenbrock, STARTS, ()),
        {"lr": 1e-3, "momentum": 0.9, "centered": True, "clip_norm": 5.0, "maxiter": 60},
    ),
    "schedule": (rosenbrock, STARTS, (), {"lr": step, "maxiter": 60}),
    "short schedule": (rosenbrock, STARTS, (), {"lr": step, "maxiter": 3}),
    "plateau": (rosenbrock, STARTS, (), {"lr": rmsfast.schedules.plateau(0.1), "maxiter": 60}),
    "maxfun": (rosenbrock, STARTS, (), {"maxfun": 5}),
    "cycle": (sphere, STARTS[:4], (), {"lr": 0.5, "rho": 0.5}),
    "bounds": (rosenbrock, STARTS, (), {"bounds": [(-1.0, 0.8), (None, 2.0)]}),
    "bounds of each": (rosenbrock, STARTS, (), {"bounds": Bounds(LOWER, LOWER + 2.7)}),
    "numeric bounds": (
        *(rosenbrock, STARTS, ()),
        {"lr": 0.01, "maxiter": 60, "bounds": Bounds(LOWER, LOWER + 2.7)},
    ),
    "args": (valley, STARTS, centred(STARTS), {}),
    "numeric args": (valley, STARTS, centred(STARTS), {"lr": 0.1, "maxiter": 60}),
    "maximize": (rosenbrock, STARTS, (), {"maximize": True, "lr": 1e-3, "maxiter": 9}),
    "not a number": (walled, STARTS, (PerProblem(STARTS[:, 0] - 1.0),), {"lr": 0.1}),
    "not a number at the start": (walled, STARTS, (2.0,), {}),
    "one": (rosenbrock, STARTS[:1], (), {}),
    "none": (rosenbrock, STARTS[:0], (), {}),
    "large": (
        *(valley, np.zeros((4, 40)), centred(np.zeros((4, 40)), 40)),
        {"bounds": [(-2.0, 1.0)] * 40},
    ),
    "large and numeric": (sphere, np.ones((4, 80)), (), {"lr": 0.1, "maxiter": 5}),
    "float32": (sphere, STARTS.astype(np.float32), (), {}),
    "numeric float32": (sphere, STARTS.astype(np.float32), (), {"lr": 0.05, "maxiter": 25}),
}
FAULTS = {
    "schedule": (rosenbrock, STARTS, (), {"lr": broken}),
    "schedule later": (rosenbrock, STARTS, (), {"lr": broken, "maxiter": 40}),
    "writes into x": (writing, STARTS, (), {}),
    "workers": (rosenbrock, STARTS, (), {"workers": 2}),
    "vectorize": (rosenbrock, STARTS, (), {"vectorize": False}),
    "chunksize": (rosenbrock, STARTS, (), {"chunksize": 3}),
    "Python": (rosenbrock.fun.py_func, STARTS, (), {"jac": True}),
    "compiled": (rosenbrock.fun, STARTS, (), {}),
    "jac": (rosenbrock, STARTS, (), {"jac": rosenbrock}),
    "args": (hinted, STARTS, ("a word",), {}),
}


def on_device(case, **options):
    fun, x0s, args, others = case
    return minimize_many(fun, x0s, args, device="cuda", **others, **options)


def simulate(file):
    """Solve all cases in the simulator and write down what came out."""
    from numba.cuda.simulator import kernel

    from rmsfast import device_many

    # three threads for seven problems, in many short launches
    device_many.PER_MULTIPROCESSOR, device_many.BLOCK = {True: 3, False: 3}, 2
    device_many.FIRST, device_many.LAUNCH_SECONDS = 5, 0.001
    found = {name: on_device(case) for name, case in CASES.items()}
    for name, case in FAULTS.items():
        try:
            found["fault", name] = on_device(case)
        except Exception as error:
            found["fault", name] = error

    # a GPU does not hear of exceptions: the thread just ends
    run = kernel.BlockManager.run

    def deaf(*args):
        try:
            run(*args)
        except ValueError as error:
            assert "too far" in str(error)

    kernel.BlockManager.run, device_many.BLOCK = deaf, 1
    found["raising"] = on_device((raising, STARTS, (PerProblem(np.arange(7.0) % 2),), {}))
    found["raising in all"] = on_device((raising, STARTS[:2], (10.0,), {}))

    class Clock:
        calls = 0

        def perf_counter(self):
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt
            return 0.0

    device_many.time = Clock()
    found["Ctrl-C"] = on_device(CASES["auto"])
    Path(file).write_bytes(pickle.dumps(found))


@pytest.fixture(scope="module")
def simulated(run_python, tmp_path_factory):
    """Results of the simulator by name."""
    file = tmp_path_factory.mktemp("simulated") / "found"
    code = "import sys; sys.path.insert(0, sys.argv[1])\n"
    code += "import test_cuda_many; test_cuda_many.simulate(sys.argv[2])"
    run_python(code, Path(__file__).parent, file, NUMBA_ENABLE_CUDASIM="1", RMSFAST_CUDA="")
    return pickle.loads(file.read_bytes())


@pytest.mark.parametrize("name", CASES)
def test_results_are_those_of_the_cpu(simulated, name):
    fun, x0s, args, options = CASES[name]
    here, there = minimize_many(fun, x0s, args, **options), simulated[name]
    assert list(there) == list(here)
    for field in ("x", "fun", "jac"):
        assert there[field].dtype == here[field].dtype
    if x0s.dtype == np.float32:  # Python's floats do not widen as compiled ones do
        assert_allclose(there.x, here.x, rtol=1e-4, atol=1e-4)
        assert_array_equal(there.status, here.status)
        return
    for field in ("x", "fun", "jac"):
        assert_allclose(there[field], here[field], rtol=1e-9, atol=1e-12)
    for field in ("nit", "nfev", "njev", "status", "success", "message"):
        assert_array_equal(there[field], here[field])


def test_the_cases_end_in_many_ways(simulated):
    codes = {int(code) for name in CASES for code in simulated[name].status}
    assert codes >= {
        *(status.GTOL, status.MAXITER, status.MAXFUN, status.LIMIT_CYCLE),
        *(status.NONFINITE, status.NONFINITE_START),
    }
    assert kernels.is_local((rows(10), 2), np.dtype(np.float64))
    assert not kernels.is_local((rows(10), 40), np.dtype(np.float64))
    assert not kernels.is_local((rows(0), 80), np.dtype(np.float64))


TEXTS = {
    "schedule": "no rate for step 40",
    "writes into x": "fun wrote into x: an objective must only read it",
    "workers": "workers must not be given with device='cuda', got workers=2",
    "vectorize": "vectorize must not be given with device='cuda', got vectorize=False",
    "chunksize": "chunksize must not be given with device='cuda', got chunksize=3",
    "Python": "fun must be an rmsfast.Objective with device='cuda'",
    "compiled": "fun must be an rmsfast.Objective with device='cuda'",
    "jac": "jac must be None or True: an Objective writes its own gradient",
    "args": "args[0] must be a number, an array or a tuple of such, got <class 'str'>",
}


@pytest.mark.parametrize("name", TEXTS)
def test_faults(simulated, name):
    error = simulated["fault", name]
    assert isinstance(error, (TypeError, ValueError))
    assert TEXTS[name] in str(error)


def test_a_schedule_that_would_fail_is_not_asked(simulated):
    result = simulated["fault", "schedule later"]
    assert set(result.status) == {status.MAXITER}


def test_an_objective_that_raises_ends_its_problem(simulated):
    result = simulated["raising"]
    raised = np.arange(7) % 2 == 0
    assert_array_equal(result.status, np.where(raised, status.OBJECTIVE, status.GTOL))
    assert_array_equal(result.x[raised], STARTS[raised])
    assert np.isnan(result.fun[raised]).all()


def test_ctrl_c_keeps_what_was_found(simulated):
    result, whole = simulated["Ctrl-C"], simulated["auto"]
    assert set(result.status) == {status.INTERRUPTED}
    begun = result.nfev > 0
    assert begun.sum() == 3
    assert (result.nfev[begun] == 5).all()
    start = np.array([rosenbrock(x)[0] for x in STARTS])
    assert (result.fun[begun] < start[begun]).all()
    assert (result.fun[begun] > whole.fun[begun]).all()
    assert_array_equal(result.x[~begun], STARTS[~begun])


EXAMPLE = Path(__file__).parents[1] / "examples" / "cuda_peak_fitting.py"
RUN_EXAMPLE = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
try:
    runpy.run_path(sys.argv[2])["main"](sys.argv[3:])
except SystemExit as error:
    print(error.code)
"""


def test_example_in_the_simulator(run_python):
    arguments = EXAMPLE.parent, EXAMPLE, "--spectra", 8, "--compared", 6
    printed = run_python(RUN_EXAMPLE, *arguments, NUMBA_ENABLE_CUDASIM="1", RMSFAST_CUDA="")
    assert "8 problems, 8 solved" in printed
    assert "as good as on the CPU, or better: 100.00 %" in printed


def test_example_says_why_it_cannot_run(run_python):
    printed = run_python(RUN_EXAMPLE, EXAMPLE.parent, EXAMPLE, CUDA_VISIBLE_DEVICES="")
    assert re.fullmatch(r"This example cannot run: device='cuda' needs a GPU here: .+\.\n", printed)


def test_device_is_checked():
    with pytest.raises(ValueError, match="device must be 'cpu' or 'cuda', got 'gpu'"):
        minimize_many(rosenbrock, STARTS, device="gpu")


# Compiled for real --------------------------------------------------------------------------------

F64, F32 = np.dtype(np.float64), np.dtype(np.float32)


def shared(n, dtype, auto, args=()):
    """What a launch works on, as arrays of the host."""
    ints, numbers, points = np.zeros(1, np.int64), np.zeros(1), np.zeros((1, n), dtype)
    blank = np.zeros(1, STATE).view(np.int64)
    w = np.zeros((rows(10 if auto else 0), n, 1), dtype)
    return kernels.Shared(
        args,
        Problems(ints, ints, points, points, points),
        Start(blank, numbers, 0.0),
        ints,
        kernels.Threads(w, blank[:, None].copy(), np.zeros((1, 2), np.int64)),
        Found(points, numbers, points, np.zeros((1, 4), np.int64)),
    )


def kernel_ptx(compile_ptx, fun, n, dtype, auto, capability, args=(), own=()):
    memory = shared(n, dtype, auto, args)
    shape = memory.threads.w.shape[:2]
    local = kernels.is_local(shape, dtype)
    made = kernels.kernel(fun.fun, own, auto, shape if local else None, dtype)
    signature = numba.typeof(memory), numba.types.int64
    return compile_ptx(made, signature, capability), shape if local else (0, 0)


@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
@pytest.mark.parametrize("auto", [True, False], ids=["auto", "numeric"])
@pytest.mark.parametrize("n", [2, 100])
def test_kernels_compile(compile_ptx, n, auto, dtype):
    text, shape = kernel_ptx(compile_ptx, rosenbrock, n, dtype, auto, (9, 0))
    assert text.count("atom.") >= 2  # the queue
    # in local memory: a record, the work array if it is small, and room of the objective
    stack = sum(map(int, re.findall(r"__local_depot\d+\[(\d+)\]", text)))
    floor = STATE.itemsize + math.prod(shape) * dtype.itemsize
    assert floor <= stack <= floor + 64
    assert "malloc" not in text


@pytest.mark.parametrize("capability", [*CAPABILITIES, NEWEST], ids=str)
def test_kernels_compile_for_each_generation(compile_ptx, capability):
    args = np.zeros((1, 2)), np.zeros(1), (np.zeros(2), 3), 2
    own = True, True, False, False
    text, _ = kernel_ptx(compile_ptx, valley, 2, F64, True, capability, args, own)
    assert ".entry" in text


def test_objectives_of_any_result_and_with_signatures_compile(compile_ptx):
    @rmsfast.Objective
    def single(x, g):
        g[0] = x[0]
        return np.float32(x[0])

    vector = numba.types.float64[::1]

    @rmsfast.Objective
    @numba.njit(numba.types.float64(vector, vector))
    def declared(x, g):
        g[0] = x[0]
        return x[0]

    for fun in (single, declared, raising):
        args = (np.zeros(1),) if fun is raising else ()
        text, _ = kernel_ptx(compile_ptx, fun, 2, F64, False, (9, 0), args, (True,) * len(args))
        assert ".entry" in text


def test_sums_of_terms_compile(compile_ptx):
    fun = rmsfast.Objective.from_terms(lambda i, x, a: a * x[i] * x[i], lambda i, x, a: a * x[i])
    text, _ = kernel_ptx(compile_ptx, fun, 2, F64, True, (9, 0), (2.0,), (False,))
    assert ".entry" in text


def test_example_compiles(compile_ptx):
    fun = runpy.run_path(str(EXAMPLE.with_name("peak_fitting.py")))["misfit"]
    text, shape = kernel_ptx(compile_ptx, fun, 4, F64, True, (9, 0), (np.zeros((1, 32)),), (True,))
    assert shape == (rows(10), 4)
    assert ".entry" in text


def test_objectives_that_allocate_do_not_compile(compile_ptx):
    @rmsfast.Objective
    def allocates(x, g):
        g[:] = np.zeros(x.size)
        return 0.0

    with pytest.raises(numba.core.errors.NumbaError):
        kernel_ptx(compile_ptx, allocates, 2, F64, False, (9, 0))


@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
@pytest.mark.parametrize("objective", ALL, ids=lambda objective: objective.name)
def test_all_objectives_compile(compile_ptx, objective, dtype):
    objective_of = kernels.device_function(objective.fun)

    def kernel(w, f):
        f[0] = objective_of(w[0, :, 0], w[1, :, 0])

    signature = numba.from_dtype(dtype)[:, :, ::1], numba.types.float64[::1]
    text = compile_ptx(kernel, signature, (7, 5))
    assert "malloc" not in text
