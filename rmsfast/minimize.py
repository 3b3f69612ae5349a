"""RMSProp as a method of `scipy.optimize.minimize`, and what all rules do as such."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from rmsfast.core import solver as core
from rmsfast.core import status
from rmsfast.core.drivers import address, driver
from rmsfast.objective import Evaluator, evaluator
from rmsfast.options import DeviceOptions, ReportOptions, take
from rmsfast.solver import Solver
from rmsfast.threads import threads
from rmsfast.warn import warn

CHUNK_SECONDS = 0.05  # of compiled work between two looks at signals
CHUNK = 256  # evaluations of the first such piece, at most
PARALLEL_SECONDS = 200e-6  # an evaluation by differences that takes longer is worth all threads


def rmsprop(
    fun: Any,
    x0: Any,
    args: Any = (),
    jac: Any = None,
    hess: Any = None,
    hessp: Any = None,
    bounds: Any = None,
    constraints: Any = (),
    callback: Callable[..., Any] | None = None,
    **options: Any,
) -> OptimizeResult:
    """Minimize a function with RMSProp; a ``method`` of `scipy.optimize.minimize`.

    Parameters
    ----------
    fun : callable, Objective, CFunc or LowLevelCallable
        The objective: ``fun(x, *args) -> float``, or ``-> (float, gradient)``
        with ``jac=True``. Functions compiled by `numba.njit`, a
        `rmsfast.Objective`, and C functions ``double (int n, double *x, double
        *g, void *user_data)`` (a `numba.cfunc` or a `scipy.LowLevelCallable`)
        run in a compiled loop.
    x0 : array_like, shape (n,)
        The start; it is not changed. float32 stays float32, other real numbers
        become float64.
    args : tuple, optional
        Further arguments of `fun` and `jac`.
    jac : callable, bool or None, optional
        ``jac(x, *args) -> ndarray, shape (n,)``, or True if `fun` returns the
        gradient too. Without it the gradient is approximated, see
        `finite_diff`.
    hess, hessp : optional
        Not used; giving one warns with `RuntimeWarning`, as SciPy does.
    bounds : Bounds, sequence of pairs, or ndarray of shape (n, 2), optional
        Bounds on the variables; all evaluations keep them.
    constraints : optional
        Must be empty: RMSProp cannot honour constraints.
    callback : callable, optional
        ``callback(xk)`` or ``callback(intermediate_result=...)``, called after
        each iteration with a copy of the iterate, or an `OptimizeResult` with
        `x` and `fun`. Raising `StopIteration` ends the run with status 99.

    Options
    -------
    lr : float, callable or "auto"
        "auto" (the default) is for deterministic objectives and reaches `gtol`;
        a number or a schedule gives textbook RMSProp, for noisy ones.
    preset : str
        Hyperparameters of a framework: "torch", "keras", "tf1", "optax", "d2l",
        "ensmallen", "optimisers_jl", "pennylane" or "quimb".
    rho, eps, momentum, nesterov, centered, eps_in_sqrt, bias_correction, \
initial_scale, weight_decay, decoupled, lr_in_momentum, clip_value, clip_norm, maximize
        See `rmsfast.RMSPropOptions`.
    gtol, ftol, xtol, maxiter, maxfun, maxcor
        See `rmsfast.options.SolverOptions`. ``tol`` sets `gtol`.
    disp, return_all, finite_diff
        See `rmsfast.options.ReportOptions`.
    device : {"cpu", "cuda"}
        "cuda": on an NVIDIA GPU, see below.

    Returns
    -------
    OptimizeResult
        `x`, the best point seen, with its `fun` and `jac`; `x_last`, the last
        iterate; `nit`, `nfev`, `njev`; `status`, `success`, `message`; and
        `allvecs`, the iterates from `x0` on, with ``return_all=True``.

        ====== ======= ===============================================
        status success meaning
        ====== ======= ===============================================
        0      True    no component of the gradient exceeds `gtol`
        5      True    the change of the objective is within `ftol`
        6      True    the length of the step is within `xtol`
        1      False   `maxiter` iterations
        4      False   `maxfun` calls of the objective
        2      False   no step lowers the objective beyond rounding
        9      False   the gradient disagrees, or the objective has a kink
        3      False   the objective became NaN or infinite
        8      False   the objective is NaN or infinite at `x0`
        7      False   a constant learning rate ended in a limit cycle
        99     False   `callback` raised `StopIteration`
        ====== ======= ===============================================

    Raises
    ------
    TypeError
        If an argument or option is of the wrong type, or the objective returns
        no real number.
    ValueError
        If `x0`, `bounds` or an option is outside its bounds, a gradient has the
        wrong shape, or `constraints` is not empty.
    RuntimeError
        If ``device="cuda"`` finds no GPU, driver or CUDA package; it says which.

    Warns
    -----
    OptimizeWarning
        If an option is unknown.

    See Also
    --------
    rmsfast.Solver : the same by ask and tell.
    rmsfast.gradient_descent, rmsfast.momentum, rmsfast.adagrad : its rivals.

    Notes
    -----
    With a numeric `lr` an iteration is one update [1]_ and one evaluation. With
    ``lr="auto"`` the RMSProp metric ``P = 1 / (sqrt(s) + eps)`` scales the
    variables, the step length is that of Barzilai and Borwein in this metric,
    a limited-memory BFGS matrix of `maxcor` corrections is built on it, or on
    the identity where that fits the last step better, and a non-monotone
    Armijo rule safeguards the step; `rmsfast.core.auto` cites the papers.
    ``maxcor=0`` keeps to RMSProp's own direction ``-lr * P * g``.

    With ``device="cuda"`` the vectors and all decisions stay on the GPU; steps
    are launched ahead, and the host looks up every 50 ms. A numeric `lr` needs
    4 to 13 vectors of the size of `x` there, ``lr="auto"`` 13 and two for each
    of `maxcor`, 15 at least. `fun` is an `rmsfast.Objective.from_terms`, whose terms,
    gradient and update are one pass with a numeric `lr`; or, with ``jac=True``,
    a function ``fun(x, *args) -> (f, g)`` of device arrays: `x` has
    ``__cuda_array_interface__`` (``cupy.asarray(x)`` and ``torch.as_tensor(x,
    device="cuda")`` copy nothing), always the same memory, which it must only
    read; `f` is a float or an array of one element on the GPU, `g` an array
    there, of the dtype of `x`; all on the default stream. It may be called some
    times more after the last step. Results agree with the CPU's to rounding;
    `callback` and `return_all` copy each iterate to the host.

    References
    ----------
    .. [1] T. Tieleman and G. Hinton, "Lecture 6.5 - RMSProp: divide the gradient
       by a running average of its recent magnitude", Coursera: Neural Networks
       for Machine Learning, 2012.

    Examples
    --------
    >>> from scipy.optimize import minimize
    >>> import rmsfast
    >>> from rmsfast.objectives import rosenbrock
    >>> result = minimize(rosenbrock, [-1.2, 1.0], jac=True, method=rmsfast.rmsprop)
    >>> result.success, result.x.round(6)
    (True, array([1., 1.]))
    """
    given = (fun, x0, args, jac, hess, hessp, bounds, constraints, callback)
    return run("rmsprop", *given, **options)


def run(
    rule: str,
    /,
    fun: Any,
    x0: Any,
    args: Any,
    jac: Any,
    hess: Any,
    hessp: Any,
    bounds: Any,
    constraints: Any,
    callback: Callable[..., Any] | None,
    **options: Any,
) -> OptimizeResult:
    """Minimize by one of `rmsfast.options.RULES`; the rest is as in `rmsprop`."""
    for name, value in (("hess", hess), ("hessp", hessp)):
        if value is not None:
            warn(f"Method {rule} does not use Hessian information ({name}).", RuntimeWarning)
    if constraints is not None and not (isinstance(constraints, (tuple, list)) and not constraints):
        raise ValueError(f"constraints must be empty: {rule} has no constraints, got {constraints}")
    if not isinstance(args, tuple):
        args = (args,)
    if take(DeviceOptions, options).device == "cuda":
        from rmsfast import device_minimize  # imports CUDA

        if "finite_diff" in options:
            raise ValueError("finite_diff must not be given with device='cuda'")
        report = take(ReportOptions, options)
        there = device_minimize.DeviceSolver(rule, fun, x0, args, jac, bounds, options)
        reporter = _Reporter(there, callback, report)
        _iterate_on_device(there, reporter)
        return reporter.finish()
    report = take(ReportOptions, options)
    solver = Solver.by_rule(rule, x0, bounds, **options)
    evaluate = evaluator(
        fun,
        jac,
        args,
        solver.w[core.LOWER],
        solver.w[core.UPPER],
        solver.x_trial,
        report.finite_diff,
    )
    solver.count(evaluate.nfev, evaluate.njev)
    reporter = _Reporter(solver, callback, report)
    seconds = _evaluate_first(solver, evaluate)
    slow = seconds > PARALLEL_SECONDS and evaluate.make_parallel is not None
    with threads() if slow else nullcontext(1) as count:
        if count > 1:
            evaluate = evaluate.in_parallel()
        if evaluate.signature is None or reporter.each_iteration:
            _iterate(solver, evaluate, reporter)
        else:
            _iterate_compiled(solver, evaluate, seconds)
    return reporter.finish()


def _evaluate_first(solver: Solver, evaluate: Evaluator) -> float:
    """Evaluate at x0, and return the seconds that it takes."""
    x, g = solver.x_trial, solver.g_trial
    before = x.tobytes()
    start = time.perf_counter()
    f = evaluate(x, g)
    seconds = time.perf_counter() - start
    if x.tobytes() != before:
        raise ValueError("fun wrote into x: an objective must only read it")
    solver.advance(f)
    return seconds


def _iterate(solver: Solver, evaluate: Evaluator, reporter: _Reporter) -> None:
    """Loop in Python: for Python objectives, and where someone watches each iteration."""
    watch = reporter.each_iteration
    if watch:
        reporter.show()
    while not solver.done:
        nit = solver.state["nit"]
        f = evaluate(solver.x_trial, solver.g_trial)
        solver.advance(f)
        if watch and solver.state["nit"] > nit and not reporter.go_on():
            solver.state["status"] = status.CALLBACK


def _iterate_compiled(solver: Solver, evaluate: Evaluator, seconds: float) -> None:
    """Loop in compiled code, coming back now and then for Ctrl-C."""
    run = driver(evaluate.signature, solver.hyper.lr == "auto")
    entry = address(evaluate.function, evaluate.signature)
    chunk = max(1, min(CHUNK, int(CHUNK_SECONDS / max(seconds, 1e-9))))
    while not solver.done:
        start = time.perf_counter()
        rates = solver.rates(chunk)
        count = rates.size or chunk
        run(entry, evaluate.args, solver.w, solver.state, rates, count)
        chunk = next_chunk(chunk, (time.perf_counter() - start) / count)


def _iterate_on_device(solver: Any, reporter: _Reporter) -> None:
    """Launch steps ahead on a GPU, looking up now and then; after each, where someone watches."""
    watch, chunk = reporter.each_iteration, 1
    while not solver.done:
        nit, begun = solver.state["nit"], solver.state["evaluations"]
        start = time.perf_counter()
        count = solver.launch(1 if watch else chunk)
        chunk = next_chunk(chunk, (time.perf_counter() - start) / count)
        if watch and begun == 0:
            reporter.show()
        if watch and solver.state["nit"] > nit and not reporter.go_on():
            solver.state["status"] = status.CALLBACK


def next_chunk(chunk: int, seconds: float) -> int:
    """Return how many evaluations to make before the next look at signals.

    Parameters
    ----------
    chunk : int
        As many were made last.
    seconds : float
        Time that one of them took.
    """
    return max(1, min(4 * chunk, int(CHUNK_SECONDS / max(seconds, 1e-9))))


class Callback:
    """Calls the caller's `callback` as SciPy would.

    Parameters
    ----------
    callback : callable
        ``callback(xk)`` or ``callback(intermediate_result=...)``.
    """

    def __init__(self, callback: Callable[..., Any]) -> None:
        if not callable(callback):
            raise TypeError(f"callback must be callable, got {callback!r}")
        self._callback = callback
        self._by_name = _takes_intermediate_result(callback)

    def __call__(self, x: np.ndarray, **fields: Any) -> bool:
        """Tell of `x` and `fields`; return whether the run goes on."""
        try:
            if self._by_name:
                self._callback(intermediate_result=OptimizeResult(x=x.copy(), **fields))
            else:
                self._callback(x.copy())
        except StopIteration:
            return False
        return True


class _Reporter:
    """What the caller sees of a run: callback, printed lines, the list of iterates."""

    def __init__(
        self, solver: Solver, callback: Callable[..., Any] | None, options: ReportOptions
    ) -> None:
        self._solver = solver
        self._callback = None if callback is None else Callback(callback)
        self._options = options
        self._iterates = [solver.point("trial").copy()] if options.return_all else []
        self.each_iteration = callback is not None or options.return_all or int(options.disp) > 1

    def go_on(self) -> bool:
        """Report one iteration; return whether the run goes on."""
        state = self._solver.state
        if self._options.return_all:
            self._iterates.append(self._solver.point("current").copy())
        if int(self._options.disp) > 1 and _is_round(int(state["nit"])):
            self.show()
        if self._callback is None:
            return True
        return self._callback(self._solver.point("current"), fun=self._solver.value(state["f"]))

    def show(self) -> None:
        """Print the line of one iteration."""
        if int(self._options.disp) < 2:
            return
        state = self._solver.state
        if state["nit"] == 0:
            print(f"{'nit':>8} {'nfev':>8} {'fun':>24} {'max|jac|':>12} {'lr':>12}")
        largest = abs(self._solver.gradient("current")).max()
        nfev = self._solver.result().nfev
        nit, lr, fun = state["nit"], state["lr"], self._solver.value(state["f"])
        print(f"{nit:8d} {nfev:8d} {fun:24.16g} {largest:12.4e} {lr:12.4e}")

    def finish(self) -> OptimizeResult:
        """Return the result, printing its summary if asked for."""
        result = self._solver.result()
        if self._options.return_all:
            result.allvecs = self._iterates
        if self._options.disp:
            print(result.message)
            print(f"         Current function value: {result.fun:f}")
            print(f"         Iterations: {result.nit:d}")
            print(f"         Function evaluations: {result.nfev:d}")
            print(f"         Gradient evaluations: {result.njev:d}")
        return result


def _takes_intermediate_result(callback: Callable[..., Any]) -> bool:
    """Whether SciPy would call `callback` with ``intermediate_result=...``."""
    try:
        return set(inspect.signature(callback).parameters) == {"intermediate_result"}
    except (TypeError, ValueError):
        return False


def _is_round(nit: int) -> bool:
    """Whether `nit` is 1, 2 or 5 times a power of ten."""
    return str(nit).rstrip("0") in ("1", "2", "5")
