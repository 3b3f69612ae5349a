"""Warnings name the line that called, whoever is in between."""

import functools

import numpy as np
import pytest
from scipy.optimize import OptimizeWarning, basinhopping, minimize, rosen, rosen_der

import rmsfast
from rmsfast.objectives import rosenbrock

X0 = [-1.2, 1.0]
TYPO = {"maxitr": 10}
BOX = [(-2.0, 2.0)] * 2
RMSPROP = {"method": rmsfast.rmsprop, "jac": True}
of_scipy = functools.partial(minimize, rosenbrock, X0, jac=True)
hops = functools.partial(basinhopping, rosenbrock, X0, niter=1)
learn = functools.partial(rmsfast.minimize_minibatch, lambda x, rows: (0.0, 0.0 * x), X0)


def pair(x):
    return rosen(x), rosen_der(x)


# name -> warning, and a call, in one line
CALLS = {
    "minimize": (OptimizeWarning, lambda: of_scipy(method=rmsfast.rmsprop, options=TYPO)),
    "adagrad": (OptimizeWarning, lambda: of_scipy(method=rmsfast.adagrad, options=TYPO)),
    "basinhopping": (OptimizeWarning, lambda: hops(minimizer_kwargs={**RMSPROP, "options": TYPO})),
    "hess": (RuntimeWarning, lambda: of_scipy(method=rmsfast.rmsprop, hess=np.outer)),
    "rmsprop": (OptimizeWarning, lambda: rmsfast.rmsprop(rosenbrock, X0, **TYPO)),
    "momentum": (OptimizeWarning, lambda: rmsfast.momentum(rosenbrock, X0, **TYPO)),
    "Solver": (OptimizeWarning, lambda: rmsfast.Solver(X0, **TYPO)),
    "by_rule": (OptimizeWarning, lambda: rmsfast.Solver.by_rule("adagrad", X0, **TYPO)),
    "minimize_many": (OptimizeWarning, lambda: rmsfast.minimize_many(rosenbrock, [X0, X0], **TYPO)),
    "python": (OptimizeWarning, lambda: rmsfast.minimize_many(pair, [X0, X0], jac=True, **TYPO)),
    "chunks": (OptimizeWarning, lambda: [*rmsfast.minimize_chunks(rosenbrock, [[X0]], **TYPO)]),
    "multistart": (OptimizeWarning, lambda: rmsfast.multistart(rosenbrock, BOX, 2, rng=1, **TYPO)),
    "batches": (UserWarning, lambda: learn(np.ones(3), batch_size=4, epochs=0, jac=True, lr=0.1)),
}


@pytest.mark.parametrize("category, call", CALLS.values(), ids=CALLS)
def test_a_warning_names_the_line_of_the_call(category, call):
    with pytest.warns(category) as caught:
        call()
    for each in caught:
        assert (each.filename, each.lineno) == (__file__, call.__code__.co_firstlineno)
