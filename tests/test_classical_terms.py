"""The classical functions that are sums of terms, as a GPU takes them: one variable per thread."""

import pickle
import re

import numpy as np
import pytest
from cuda_types import NOTES, run_of
from numba import types
from numpy.testing import assert_allclose

import rmsfast
from rmsfast import objectives
from rmsfast.core.cuda import numeric
from rmsfast.objectives import ALL

SUMS = [fun for fun in ALL if fun.terms is not None]
SIZES = [fun.of_size(fun.sizes[k]) for fun in SUMS for k in (0, 1, 2, 6, 9, 20)]
each = pytest.mark.parametrize("fun", SUMS, ids=lambda fun: fun.name)
each_dtype = pytest.mark.parametrize("T", [np.float64, np.float32], ids=lambda T: T.__name__)


def test_the_documentation_names_them():
    text = objectives.__doc__.partition("`Classical.terms`")[2]
    assert text.split("``")[1::2] == [fun.name for fun in SUMS]
    assert len(SUMS) == 14


def test_the_others_have_none():
    for fun in (objectives.ackley, objectives.beale, rmsfast.Objective(lambda x, g: 0.0)):
        assert fun.terms is None


@pytest.mark.parametrize("fun", SIZES, ids=repr)
@each_dtype
def test_terms_add_up_to_value_and_gradient(fun, T):
    rng = np.random.default_rng(fun.n)
    tolerance = 1e-12 if T is np.float64 else 2e-5
    for x in (fun.x0, fun.x0 + rng.normal(size=fun.n), rng.uniform(-2.0, 2.0, fun.n)):
        f, g = fun(x.astype(T))
        value, gradient = fun.terms(x.astype(T))
        assert_allclose(value, f, rtol=tolerance, atol=tolerance)
        assert_allclose(gradient, g, rtol=tolerance, atol=tolerance * abs(g).max())
        assert gradient.dtype == T


@pytest.mark.parametrize("n", [15, 16, 100, 4099])
def test_long_chains(n):
    """Which take another path from thirteen variables on."""
    fun = objectives.rosenbrock.of_size(n)
    x = fun.x0 + np.random.default_rng(n).normal(size=n)
    (f, g), (value, gradient) = fun(x), fun.terms(x)
    assert_allclose(value, f, rtol=1e-13)
    assert_allclose(gradient, g, rtol=1e-12, atol=1e-12 * abs(g).max())


def test_terms_are_an_objective_of_their_own():
    terms = objectives.trid.terms
    assert terms.terms is terms
    assert terms.__name__ == "trid_term"
    x = np.linspace(0.0, 1.0, 6)
    assert pickle.loads(pickle.dumps(terms))(x)[0] == pytest.approx(objectives.trid(x)[0])


# Compiled without a GPU --------------------------------------------------------------------------


@each
def test_compiles_for_a_gpu(fun, compile_ptx):
    """In the kernel that moves all variables, within registers but for trigonometry."""
    kind = numeric.Kind(np.float32, (False,) * 7, *(False,) * 8)
    kernel = numeric.sweep_kernel(fun.terms.term, fun.terms.grad, kind)
    ptx = compile_ptx(kernel, (run_of(np.float32), NOTES, types.Tuple(())), (9, 0))
    reduces = fun.name in ("levy", "rastrigin")  # sin of a large number takes a table
    assert bool(re.search(r"\.local\b", ptx)) == reduces
    assert "st.global.f32" in ptx
