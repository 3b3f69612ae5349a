"""Every status code is reached, and says in a sentence what happened and what to do."""

import functools

import numpy as np
import pytest
from scipy.optimize import minimize, rosen, rosen_der

import rmsfast
from rmsfast import schedules
from rmsfast.core import status

X0 = (-1.2, 1.0)
run = functools.partial(minimize, method=rmsfast.rmsprop)


def square(x):
    return 0.5 * x @ x


def identity(x):
    return x


def stop(x):
    raise StopIteration


def of(fun=rosen, jac=rosen_der, x0=X0, callback=None, **options):
    """One problem of the table: what to call."""
    return functools.partial(run, fun, x0, jac=jac, callback=callback, options=options)


def rough(x):
    """The gradient of `rosen`, wrong by what the rounding of 1e10 hides."""
    return rosen_der(x) + 1e-7


def domain(x):
    """A function that ends at x = 0."""
    return x[0] if x[0] > 0 else np.nan


REACHED = [
    (status.GTOL, of()),
    (status.GTOL, of(maxcor=0)),
    (status.GTOL, of(x0=(1.0, 1.0))),
    (status.GTOL, of(x0=(1.0, 1.0), lr=0.1)),
    (status.GTOL, of(square, identity, lr=schedules.exponential(0.1, 0.98))),
    (status.GTOL, of(square, identity, lr=schedules.plateau(0.1), maxiter=5000)),
    (status.MAXITER, of(maxiter=3)),
    (status.MAXITER, of(maxiter=0)),
    (status.MAXITER, of(maxiter=3, lr=0.1)),
    (status.MAXFUN, of(maxfun=3)),
    (status.MAXFUN, of(maxfun=1)),
    (status.MAXFUN, of(maxfun=3, lr=0.1)),
    (status.MAXFUN, of(jac=None, maxfun=3)),
    (status.FTOL, of(ftol=1e-2, gtol=0)),
    (status.FTOL, of(ftol=1e-2, gtol=0, lr=0.01)),
    (status.XTOL, of(xtol=1e-2, gtol=0)),
    (status.XTOL, of(xtol=1e-2, gtol=0, lr=0.01)),
    (status.LINE_SEARCH, of(lambda x: 1e10 + rosen(x), rough, gtol=0)),
    (status.NONFINITE, of(domain, np.ones_like, x0=[1.0], lr=0.1)),
    (status.NONFINITE, of(square, lambda x: x / (abs(x) > 0.5) * 1.0, x0=[1.0], lr=0.1)),
    (status.NONFINITE_START, of(domain, np.ones_like, x0=[-1.0])),
    (status.NONFINITE_START, of(domain, np.ones_like, x0=[-1.0], lr=0.1)),
    (status.NONFINITE_START, of(square, lambda x: x * np.inf)),
    (status.LIMIT_CYCLE, of(square, identity, lr=0.1, gtol=0)),
    (status.INCONSISTENT, of(lambda x: abs(x).sum(), np.sign, gtol=0, maxcor=0)),
    (status.INCONSISTENT, of(jac=lambda x: -rosen_der(x))),
    (status.INCONSISTENT, of(square, lambda x: -x, maxcor=0)),
    (status.CALLBACK, of(callback=stop)),
    (status.CALLBACK, of(callback=stop, lr=0.1)),
]
IDS = [f"{code}-{k}" for k, (code, _) in enumerate(REACHED)]
ADVICE = {  # the words that say what to do, or which limit was met
    status.GTOL: ("gtol",),
    status.FTOL: ("ftol",),
    status.XTOL: ("xtol",),
    status.MAXITER: ("maxiter",),
    status.MAXFUN: ("maxfun",),
    status.LINE_SEARCH: ("Scale the variables", "gtol"),
    status.NONFINITE: ("NaN", "Lower a numeric lr", "lr='auto'"),
    status.NONFINITE_START: ("NaN", "x0"),
    status.LIMIT_CYCLE: ("lr='auto'", "plateau"),
    status.INCONSISTENT: ("Check jac", "check_grad"),
    status.CALLBACK: ("StopIteration",),
}


@pytest.mark.parametrize(("code", "problem"), REACHED, ids=IDS)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_code_is_reached(code, problem):
    result = problem()
    assert result.status == code
    assert result.message.startswith(status.MESSAGE[code])
    assert result.success is (code in (status.GTOL, status.FTOL, status.XTOL))
    for words in ADVICE[code]:
        assert words in result.message


# See test_many_faults.py and test_minibatch_faults.py
ELSEWHERE = (status.OBJECTIVE, status.INTERRUPTED, status.EPOCHS, status.PATIENCE)
ELSEWHERE += (status.NONFINITE_BATCH,)


def test_every_code_is_in_the_tables():
    codes = {value for name, value in vars(status).items() if name.isupper() and type(value) is int}
    codes.remove(status.COUNT)
    assert codes == set(status.MESSAGE)
    assert codes - {status.RUNNING, *ELSEWHERE} == {code for code, _ in REACHED} == set(ADVICE)
    assert len(set(status.MESSAGE.values())) == len(codes)


def test_success_codes():
    assert set(status.SUCCESS) == {
        *(status.GTOL, status.FTOL, status.XTOL),
        *(status.EPOCHS, status.PATIENCE),
    }
    for code, text in status.MESSAGE.items():
        assert ("successfully" in text) == (code in status.SUCCESS)


@pytest.mark.parametrize("text", status.MESSAGE.values())
def test_message_is_a_sentence(text):
    assert text[0].isupper() or text[0] == "`"
    assert text.endswith(".")
    assert "  " not in text
    assert "\n" not in text


def test_codes_are_those_of_the_documentation():
    words = rmsfast.rmsprop.__doc__.split("====== ======= ====")[2]
    rows = [line.split()[:2] for line in words.splitlines() if line.split()[1:2]]
    documented = {int(code): success == "True" for code, success in rows if code.isdigit()}
    codes = set(status.MESSAGE) - {status.RUNNING, *ELSEWHERE}
    assert documented == {code: code in status.SUCCESS for code in codes}


def test_running_solver():
    solver = rmsfast.Solver(X0)
    solver.tell(rosen(np.array(X0)), rosen_der(np.array(X0)))
    result = solver.result()
    assert (result.status, result.success) == (status.RUNNING, False)
    assert result.message == solver.message == status.MESSAGE[status.RUNNING]
