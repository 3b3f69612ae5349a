"""`minimize_many` on a GPU against the same on the CPU.

On a machine with a GPU: ``python -m pytest -m gpu``. In Numba's simulator there are fewer problems.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_cuda_many import CASES, STARTS, on_device, raising

import rmsfast
from rmsfast import PerProblem, minimize_many
from rmsfast.core import status
from rmsfast.core.cuda.target import SIMULATED, why_not
from rmsfast.objectives import ALL, rosenbrock

pytestmark = [
    pytest.mark.gpu,
    # the simulator computes by NumPy's numbers, which warn
    pytest.mark.filterwarnings("ignore:.*encountered in scalar:RuntimeWarning"),
]

MANY = 10 if SIMULATED else 100_000  # more than there are threads, which refill
SOME = 4 if SIMULATED else 3000
compiled = pytest.mark.skipif(SIMULATED, reason="the simulator compiles nothing")


@pytest.fixture(scope="module", autouse=True)
def _gpu():
    assert not why_not(), why_not()


@pytest.fixture(scope="module")
def host():
    """The module that launches the kernels."""
    from rmsfast import device_many

    return device_many


# The compiler of the GPU contracts a multiplication and an addition into one operation, so points
# differ by rounding, which the iterations of lr="auto" enlarge until both are at the minimum.


@pytest.mark.parametrize("name", CASES)
def test_results_are_those_of_the_cpu(name):
    fun, x0s, args, options = CASES[name]
    here, there = minimize_many(fun, x0s, args, **options), on_device(CASES[name])
    for field in here:
        assert getattr(there[field], "dtype", None) == getattr(here[field], "dtype", None)
    assert_array_equal(there.status, here.status)
    tight = "lr" in options and x0s.dtype == np.float64
    assert_allclose(there.x, here.x, rtol=0.0, atol=1e-9 if tight else 1e-3)
    assert_allclose(there.fun, here.fun, rtol=0.0, atol=1e-9 if tight else 1e-3)
    if tight:
        assert_array_equal(there.nit, here.nit)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("objective", ALL, ids=lambda objective: objective.name)
def test_objectives_have_the_same_values_and_gradients(objective, dtype):
    x0s = objective.x0[None, :].astype(dtype)
    here = minimize_many(objective, x0s, maxfun=1)
    there = minimize_many(objective, x0s, maxfun=1, device="cuda")
    relative = 1000 * np.finfo(dtype).eps  # sums of up to some hundred terms that cancel
    assert_allclose(there.fun, here.fun, rtol=relative, atol=relative)
    scale = max(1.0, float(abs(here.jac).max()))
    assert_allclose(there.jac, here.jac, rtol=relative, atol=relative * scale)


@pytest.mark.parametrize("objective", ALL, ids=lambda objective: objective.name)
def test_objectives_are_solved(objective):
    x0s = objective.x0[None, :]
    here = minimize_many(objective, x0s)
    there = minimize_many(objective, x0s, device="cuda")
    assert_array_equal(there.success, here.success)
    if here.success[0]:
        size = max(1.0, float(abs(here.fun[0])))
        assert there.fun[0] <= here.fun[0] + 1e-6 * size


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=lambda dtype: dtype.__name__)
def test_many_problems(host, dtype):
    x0s = np.random.default_rng(0).uniform(-2.0, 2.0, (MANY, 2)).astype(dtype)
    options = {} if dtype == np.float64 else {"gtol": 1e-2}
    result = minimize_many(rosenbrock, x0s, device="cuda", **options)
    assert result.x.dtype == dtype
    assert result.success.mean() > 0.999
    solved = result.x[result.success]
    assert_allclose(solved, np.ones_like(solved), atol=1e-3 if dtype == np.float64 else 0.1)


def test_neither_launches_nor_threads_change_a_bit(host, monkeypatch):
    x0s = np.random.default_rng(0).uniform(-2.0, 2.0, (SOME, 2))
    whole = minimize_many(rosenbrock, x0s, device="cuda")
    monkeypatch.setattr(host, "FIRST", 3)
    monkeypatch.setattr(host, "LAUNCH_SECONDS", 0.0)
    monkeypatch.setattr(host, "WORK_BYTES", 100 * 33 * 2 * 8)  # of a hundred threads
    parts = minimize_many(rosenbrock, x0s, device="cuda")
    for field in ("x", "fun", "jac", "nit", "status"):
        assert_array_equal(parts[field], whole[field])


@compiled
def test_an_objective_that_raises_ends_its_problem():
    result = on_device((raising, STARTS, (PerProblem(np.arange(7.0) % 2),), {}))
    raised = np.arange(7) % 2 == 0
    assert_array_equal(result.status, np.where(raised, status.OBJECTIVE, status.GTOL))


@compiled
def test_an_objective_that_allocates_is_refused():
    @rmsfast.Objective
    def allocates(x, g):
        g[:] = np.zeros(x.size)
        return 0.0

    with pytest.raises(TypeError, match="fun cannot be compiled for CUDA"):
        minimize_many(allocates, STARTS, device="cuda")
