"""Every kernel of the update compiles to PTX, without a GPU: the simulator does not type-check."""

import re

import numba
import numpy as np
import pytest
from cuda_types import NEWEST, array, each_capability
from numba import types
from test_rule import VARIANTS

from rmsfast import kernels
from rmsfast.core import cpu
from rmsfast.core.cuda import update
from rmsfast.core.cuda.target import target
from rmsfast.options import RMSPropOptions
from rmsfast.passes import Pass

DTYPES = {  # of parameters -> what is computed in
    np.float64: np.float64,
    np.float32: np.float32,
    np.float16: np.float32,
}
INTEGER = types.int64
FLAGS = {"lr_array": True, "averaged": True}

each_dtype = pytest.mark.parametrize("P", DTYPES, ids=lambda dtype: dtype.__name__)
each_variant = pytest.mark.parametrize("name", [*VARIANTS, "everything"])


def numbers(T):
    return types.UniTuple(numba.from_dtype(np.dtype(T)), cpu.DECAY + 1)


def variant_of(name):
    """What `RMSProp` compiles for the options of a variant."""
    more = VARIANTS["all coupled" if name == "everything" else name]
    v = Pass(0, RMSPropOptions(lr=0.1, **more), np.float64, None).variant
    return v._replace(**FLAGS) if name == "everything" else v


def assert_float32_only(ptx):
    """No instruction computes with, converts to or loads float64."""
    assert re.search(r"\b(sqrt|div)\.rn\.f32", ptx)
    assert ".f64" not in ptx


def assert_no_spills(ptx):
    """Nothing is kept in local memory."""
    assert not re.search(r"\.local\b", ptx)
    assert not re.search(r"\b(ld|st)\.local", ptx)


@each_capability
@each_dtype
@each_variant
def test_update(compile_ptx, name, P, cc):
    T, v = DTYPES[P], variant_of(name)
    whole = array(np.int64)
    signature = array(np.int64, 2), whole, whole, numbers(T), array(T)
    for is_controlled in (False, True):
        ptx = compile_ptx(update.update_kernel(T, P, v, is_controlled), signature, cc)
        assert_no_spills(ptx)
        if T is np.float32:
            assert_float32_only(ptx)


@each_dtype
@pytest.mark.parametrize("name", ["plain", "everything"])
def test_the_newest_capability(compile_ptx, name, P):
    test_update(compile_ptx, name, P, NEWEST)


@each_capability
@each_dtype
@each_variant
def test_update_of_one_array(compile_ptx, name, P, cc):
    T = DTYPES[P]
    signature = types.UniTuple(INTEGER, cpu.COLUMNS), INTEGER, numbers(T)
    ptx = compile_ptx(update.update_one_kernel(T, P, variant_of(name)), signature, cc)
    assert_no_spills(ptx)
    if T is np.float32:
        assert_float32_only(ptx)


def test_what_is_off_is_left_out(compile_ptx):
    """Of plain RMSProp the kernel loads and stores what the formula needs, for one element."""
    T, whole = np.float32, array(np.int64)
    signature = array(np.int64, 2), whole, whole, numbers(T), array(T)
    ptx = compile_ptx(update.update_kernel(T, T, variant_of("plain"), False), signature, (9, 0))
    loads, stores = (len(re.findall(rf"\b{op}\.global\.f32", ptx)) for op in ("ld", "st"))
    roots = len(re.findall(r"\bsqrt\.rn\.f32", ptx))  # one for each copy of the unrolled loop
    assert roots >= 1
    assert (loads, stores) == (3 * roots, 2 * roots)  # x, g, s; x, s


@each_capability
@each_dtype
@pytest.mark.parametrize("weight_decay", [False, True])
@pytest.mark.parametrize("maximize", [False, True])
def test_norm(compile_ptx, weight_decay, maximize, P, cc):
    T, whole, vector = DTYPES[P], array(np.int64), array(np.float64)
    kernel = update.norm_kernel(T, P, weight_decay, maximize)
    arrays = array(np.int64, 2), whole, whole, numbers(T)
    ptx = compile_ptx(kernel, (*arrays, vector, types.boolean, vector, vector), cc)
    assert_no_spills(ptx)
    assert re.search(r"\bbar\.sync", ptx)
    assert re.search(r"\b(fma\.rn|add)\.f64", ptx), "the sums are of float64"


@each_capability
def test_settle(compile_ptx, cc):
    vector, flag = array(np.float64), types.boolean
    bounds = types.UniTuple(types.float64, update.UNDERFLOW + 1)
    controls = array(np.float32, 2), array(np.float64, 2)
    arguments = vector, vector, vector, flag, flag, vector, bounds, flag, array(np.int64)
    ptx = compile_ptx(update.settle_kernel(), (*arguments, *controls), cc)
    assert re.search(r"\bsqrt\.rn\.f64", ptx)


@each_capability
@pytest.mark.parametrize("T", [np.float32, np.float64], ids=lambda T: T.__name__)
def test_fill(compile_ptx, T, cc):
    signature = array(T), types.float64
    assert_no_spills(compile_ptx(update.fill_kernel(T), signature, cc))


@each_capability
@pytest.mark.parametrize("T", [np.float32, np.float64], ids=lambda T: T.__name__)
def test_a_kernel_of_ones_own(compile_ptx, T, cc):
    """`kernels.step` in ``@cuda.jit`` code: here with an objective, a thread for each start."""
    cuda, hyper = target(), kernels.hyper(lr=0.05, rho=0.9)

    def minimize(x, steps):
        i = cuda.grid(1)
        if i < x.size:
            h = kernels.cast(hyper, T)  # constants
            x_i, s, zero = x[i], T(0), T(0)
            for _ in range(steps):
                g = x_i * x_i * x_i - x_i
                x_i, s, _, _ = kernels.step(x_i, g, s, zero, zero, h)
            x[i] = x_i

    ptx = compile_ptx(minimize, (array(T), INTEGER), cc)
    assert_no_spills(ptx)
    if T is np.float32:
        assert_float32_only(ptx)
