"""The compiled code of the kernels runs, without a GPU, and does what the CPU does.

The simulator runs the kernels as Python, without types; that they compile to PTX does not say
what the PTX computes. Here it is run, translated for this processor: see `emulated` and `ptx`.
That shows what types, conversions, contracted operations, the arguments of launches, addresses,
barriers and local and shared memory come to. It does not show streams, time and what two threads
do at once.
"""

import os

import pytest
from gpu_tests import TESTS, assert_passing

# Files of tests/gpu -> which of their tests, to take seconds: ``-m gpu --emulated`` runs all
CHOSEN = {
    "test_update": "float and (variants and all or kernels and all or everything) or skipped",
    "test_large_problems": "plateau or everything or ends or sizes or bounds",
    "test_many_problems": "cpu and (args or plateau or float32) or raises or neither",
}


@pytest.mark.parametrize("name", CHOSEN)
def test_tests_of_the_gpu_pass(name):
    """In a process of its own, of which the driver is replaced."""
    switches = {"NUMBA_ENABLE_CUDASIM": "0", "RMSFAST_CUDA": ""}
    assert_passing(name, CHOSEN[name], "--emulated", **switches)


# The instrument -----------------------------------------------------------------------------------

RUN = """
import math
import emulated, numpy as np
from numba import cuda, float64

def run(kernel, *arrays, threads=32):
    there = [cuda.to_device(a) for a in arrays]
    cuda.jit(kernel)[128, threads](*there)
    return [a.copy_to_host() for a in there]
"""


@pytest.fixture
def emulate(run_python):
    """Run code in which `run` runs a kernel; return what it prints."""
    path = f"{TESTS}{os.pathsep}{TESTS.parent}"
    switches = {"NUMBA_ENABLE_CUDASIM": "0", "RMSFAST_CUDA": ""}
    return lambda code: run_python(RUN + code, PYTHONPATH=path, **switches)


@pytest.mark.parametrize("T", ["float64", "float32"])
def test_functions_of_libdevice(emulate, T):
    """They use the rarer instructions, and are as accurate here as CUDA documents."""
    code = f"""
np.seterr(all="ignore")
x = np.concatenate([np.linspace(-20, 20, 1000), np.logspace(-37, 37, 999), [0.0, np.inf, -np.inf]])
x = x.astype(np.{T})

def check(function, reference):
    def kernel(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = function(x[i])

    _, y = run(kernel, x, 0 * x)
    exact = reference(x.astype(np.float64)).astype(x.dtype)
    np.testing.assert_allclose(y, exact, rtol=2 * np.finfo(x.dtype).eps, atol=1e-44)

for name in "sin cos tan exp expm1 log log1p sqrt tanh floor".split():
    check(getattr(math, name), getattr(np, name))
check(cuda.jit(device=True)(lambda x: abs(x) ** 2.5), lambda x: abs(x) ** 2.5)
"""
    assert emulate(code) == ""


def test_integers(emulate):
    code = """
def kernel(a, quotient, rest, shifted, narrow):
    i = cuda.grid(1)
    if i < a.size:
        quotient[i], rest[i] = a[i] // 7, a[i] % -13
        shifted[i], narrow[i] = a[i] >> (i % 64), np.int32(a[i]) * 3

a = np.arange(2000) * 1234567891011 - 10**15
_, quotient, rest, shifted, narrow = run(kernel, a, *np.zeros((4, a.size), np.int64))
assert (quotient == a // 7).all() and (rest == a % -13).all()
assert (shifted == a >> np.arange(a.size) % 64).all()
assert (narrow == 3 * a.astype(np.int32).astype(np.int64)).all()
"""
    assert emulate(code) == ""


FAULTS = """
def beyond_the_end(x):
    x[cuda.grid(1)] = 1.0

def before_the_beginning(x):
    x[cuda.grid(1) - 1 - x.size] = 1.0

def nothing_is_written(x):
    shared = cuda.shared.array(32, float64)
    x[cuda.threadIdx.x] = shared[cuda.threadIdx.x]

def no_barrier(x):
    shared = cuda.shared.array(32, float64)
    shared[cuda.threadIdx.x] = cuda.threadIdx.x
    x[cuda.threadIdx.x] = shared[cuda.threadIdx.x ^ 1]

def barriers_not_for_all(x):
    if cuda.threadIdx.x > 3:
        cuda.syncthreads()
        x[0] = 1.0
    else:
        x[0] = 2.0
        cuda.syncthreads()

def no_fault(x):
    shared = cuda.shared.array(32, float64)
    shared[cuda.threadIdx.x] = cuda.threadIdx.x
    cuda.syncthreads()
    x[cuda.threadIdx.x] = shared[cuda.threadIdx.x ^ 1]

for kernel in (beyond_the_end, before_the_beginning, nothing_is_written, no_barrier,
               barriers_not_for_all, no_fault):
    try:
        (y,) = run(kernel, np.zeros(32))
        print("as meant" if (y == np.arange(32) ^ 1).all() else "wrong numbers")
    except AssertionError as error:
        print(error)
"""


def test_faults(emulate):
    """What is undefined on a GPU is found."""
    expected = ["bad address"] * 2 + ["wrong numbers"] * 2
    expected += ["threads wait at different barriers", "as meant"]
    for found, text in zip(emulate(FAULTS).splitlines(), expected, strict=True):
        assert text in found
