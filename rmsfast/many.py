"""Many problems at once."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import signal
import sys
from _thread import start_new_thread
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext, suppress
from dataclasses import fields
from multiprocessing.synchronize import Event
from queue import Empty, SimpleQueue
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.errors import NumbaError
from numba.extending import is_jitted
from scipy.optimize import Bounds, OptimizeResult

from rmsfast.core import lanes, queue, status
from rmsfast.core import solver as core
from rmsfast.core.cuda.target import why_not
from rmsfast.core.drivers import address
from rmsfast.minimize import rmsprop
from rmsfast.objective import Evaluator, Objective, evaluator, real_dtype
from rmsfast.options import (
    DeviceOptions,
    ReportOptions,
    RMSPropOptions,
    SolverOptions,
    check_count,
    check_flag,
    take,
)
from rmsfast.progress import bar
from rmsfast.solver import Solver, message, read_bounds
from rmsfast.threads import threads as reserve

LOOK_SECONDS = 0.1  # between two looks at the threads
VECTORIZE_STEPS = 10**8  # that pay for some seconds of compiling
RATES = 1024  # steps of a schedule that are asked for at first
LANES_RATES = 2**16  # and where problems that need more would leave the lanes
MANY = np.iinfo(np.int64).max
CHUNKSIZE = 1000  # problems that a worker solves at a time
# Not fork, on which a process with threads may hang: Numba's, BLAS's, anyone's
_START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class PerProblem:
    """An argument that each problem has its own of: problem k gets ``array[k]``.

    Parameters
    ----------
    array : array_like, shape (n_problems, ...)
        Numbers; one number, or one array, for each problem.

    Raises
    ------
    TypeError
        If `array` does not hold numbers.
    ValueError
        If it has no axis for the problems.

    Examples
    --------
    >>> import numpy as np
    >>> import rmsfast
    >>> @rmsfast.Objective
    ... def distance(x, g, target):
    ...     g[0] = x[0] - target
    ...     return 0.5 * g[0] ** 2
    >>> targets = rmsfast.PerProblem(np.array([1.0, 2.0, 3.0]))
    >>> result = rmsfast.minimize_many(distance, np.zeros((3, 1)), args=(targets,))
    >>> result.x.ravel().round(6)
    array([1., 2., 3.])
    """

    def __init__(self, array: Any) -> None:
        array = _array("PerProblem", array)
        if array.dtype.kind not in "biufc":
            raise TypeError(f"PerProblem must hold numbers, got dtype {array.dtype}")
        if array.ndim == 0:
            raise ValueError("PerProblem must have a first axis of problems, got a scalar")
        self.array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, problems: Any) -> PerProblem:
        """Return the argument of some problems."""
        return PerProblem(self.array[problems])

    def __repr__(self) -> str:
        return f"PerProblem(shape {self.array.shape}, dtype {self.array.dtype})"


class ManyResult(OptimizeResult):
    """What `minimize_many` found: arrays with a leading axis of the problems.

    Attributes
    ----------
    x, jac : ndarray, shape (n_problems, n)
        The best point of each problem, and the gradient there.
    fun : ndarray, shape (n_problems,)
        The value there.
    nit, nfev, njev, status : ndarray of int, shape (n_problems,)
        Iterations, calls of the objective and of its gradient, and why each
        problem ended; see `rmsfast.rmsprop`.
    success : ndarray of bool, shape (n_problems,)
        Whether it ended well.
    message : ndarray of str, shape (n_problems,)
        The status in words.
    """

    @property
    def best(self) -> OptimizeResult:
        """The problem with the lowest value, as the result of a single run, with its `index`.

        Raises
        ------
        ValueError
            If no problem has a value.
        """
        if self.fun.size == 0 or np.isnan(self.fun).all():
            raise ValueError("best: no problem has a value")
        k = int(np.nanargmax(self.fun) if self.maximize else np.nanargmin(self.fun))
        arrays = {name: value for name, value in self.items() if isinstance(value, np.ndarray)}
        return OptimizeResult({name: value[k] for name, value in arrays.items()}, index=k)

    def __repr__(self) -> str:
        count = len(self.fun)
        lines = [f"{count} problems, {int(self.success.sum())} solved"]
        codes, counts = np.unique(self.status, return_counts=True)
        for code, many in zip(codes, counts, strict=True):
            lines.append(f"  status {code:2d}: {many:>8d}  {status.MESSAGE[int(code)]}")
        finite = self.fun[np.isfinite(self.fun)]
        if finite.size:
            low, middle, high = np.quantile(finite, [0.0, 0.5, 1.0])
            lines.append(f"  fun:  lowest {low:.6g}, median {middle:.6g}, highest {high:.6g}")
            lines.append(f"  nfev: {int(self.nfev.sum())} in all, at most {int(self.nfev.max())}")
        return "\n".join(lines)


def minimize_many(
    fun: Any,
    x0s: Any,
    args: Any = (),
    *,
    jac: Any = None,
    bounds: Any = None,
    workers: int | Callable[..., Any] | None = None,
    chunksize: int | None = None,
    progress: bool = False,
    vectorize: bool | None = None,
    device: str | None = None,
    **options: Any,
) -> ManyResult:
    """Minimize a function from many starts, or with many sets of arguments.

    Each problem is solved as `rmsfast.rmsprop` solves it alone, to the last
    bit, and stops by itself. Compiled objectives are solved in compiled code
    on all cores.

    Parameters
    ----------
    fun : callable, Objective, CFunc or LowLevelCallable
        The objective, in any form that `rmsfast.rmsprop` takes.
    x0s : array_like, shape (n_problems, n)
        The starts. float32 stays float32, other real numbers become float64.
    args : tuple, optional
        Further arguments of `fun` and `jac`, shared by all problems; one
        wrapped in `rmsfast.PerProblem` gives each problem its own.
    jac : callable, bool or None, optional
        As in `rmsfast.rmsprop`.
    bounds : Bounds, sequence of pairs, array or PerProblem, optional
        Bounds on the variables, shared; or a `Bounds` with arrays of shape
        ``(n_problems, n)``, or a `PerProblem` array of shape ``(n_problems, n,
        2)``.
    workers : int or callable, optional
        Number of threads for a compiled objective, of processes for one in
        Python; -1 for all cores. Default: all of Numba's threads; one process.
        Processes import the objective: it stands at the top level of a module, or
        of a program that calls this below ``if __name__ == "__main__"``.
        Or a function like `map`: ``workers(solve, chunks)`` calls `solve`, which
        can be pickled, with each of `chunks`, anywhere, and returns the results
        in order.
    chunksize : int, optional
        Problems that a process, or one call of a function like `map`, solves at
        a time. Default: 1000.
    progress : bool, optional
        Show a progress bar; needs tqdm.
    vectorize : bool, optional
        Solve problems with a numeric `lr` side by side in vector instructions:
        5 to 20 times faster for n up to about 10, after some seconds of
        compiling once for each objective and n. It is for objectives compiled
        with the gradient written in place; what cannot be vectorised is solved
        one after another. Default: where there may be 1e8 steps or more.
    device : {"cpu", "cuda"}, optional
        Where the problems are solved. ``"cuda"``: on an NVIDIA GPU, each by one
        thread, which takes the next when it has finished. `fun` must be an
        `rmsfast.Objective` that allocates no arrays; it is compiled for the GPU
        in some seconds, once in each process. Results differ from those of the
        CPU by rounding: a multiplication and an addition are one operation
        there.
    **options
        Those of `rmsfast.rmsprop`, but `return_all` and `disp`.

    Returns
    -------
    ManyResult
        An `OptimizeResult` whose entries have a leading axis of problems: `x`,
        `fun`, `jac`, `nit`, `nfev`, `njev`, `status`, `success`, `message`; and
        `best`, the problem with the lowest value. Printed it is a summary.

        Beside those of `rmsfast.rmsprop`, a status may be

        ====== ======= ===============================================
        status success meaning
        ====== ======= ===============================================
        10     False   the objective raised an exception
        98     False   Ctrl-C came before the problem was solved
        ====== ======= ===============================================

        Neither disturbs other problems: Ctrl-C returns those that are solved (if
        `workers` is a function, it is raised).

    Raises
    ------
    TypeError
        If an argument or option is of the wrong type, or `fun` cannot be compiled
        for the `device`.
    ValueError
        If a start, a bound or an option is outside its bounds, or a `PerProblem`
        argument is of another length than `x0s`.
    RuntimeError
        If there is no GPU to solve on; the message says why.
    Exception
        What the objective raised, if it raised for every problem.

    See Also
    --------
    rmsfast.minimize_chunks : for more problems than memory holds.
    rmsfast.multistart : one function, many starts, its minima in order.

    Examples
    --------
    >>> import numpy as np
    >>> import rmsfast
    >>> from rmsfast.objectives import rosenbrock
    >>> x0s = np.random.default_rng(0).uniform(-2, 2, (1000, 2))
    >>> result = rmsfast.minimize_many(rosenbrock, x0s)
    >>> int(result.success.sum()), result.best.x.round(4)
    (1000, array([1., 1.]))
    """
    device = (DeviceOptions() if device is None else DeviceOptions(device=device)).device
    if device == "cuda":
        given = {"workers": workers, "chunksize": chunksize, "vectorize": vectorize}
        _check_device(fun, {name: value for name, value in given.items() if value is not None})
    problems = _Problems(fun, x0s, args, jac, bounds, options, vectorize)
    chunksize = CHUNKSIZE if chunksize is None else check_count("chunksize", chunksize, 1)
    check_flag("progress", progress)
    count = None if callable(workers) else _worker_count(workers)
    with bar(len(problems.x0s), "problems", progress) as report:
        if device == "cuda":
            result = problems.solve_on_device(report)
        elif callable(workers):
            result = _solve_by_map(problems, workers, chunksize, report, None)
        elif problems.compiled or count in (None, 1):
            result = problems.solve(count, report)
        else:
            result = _solve_by_processes(problems, count, chunksize, report)
    if len(result.status) and (result.status == status.OBJECTIVE).all():
        problems.solve_alone(0)  # raises
    return result


def minimize_chunks(fun: Any, chunks: Iterable[Any], **options: Any) -> Iterator[ManyResult]:
    """Minimize chunk after chunk of problems, for more than memory holds.

    Parameters
    ----------
    fun : callable, Objective, CFunc or LowLevelCallable
        The objective.
    chunks : iterable
        Of starts, arrays of shape ``(n_problems, n)``, or of pairs ``(starts,
        args)``.
    **options
        Further arguments of `minimize_many`.

    Yields
    ------
    ManyResult
        Of one chunk, before the next is taken from `chunks`. After Ctrl-C none
        is taken.

    Examples
    --------
    >>> import numpy as np
    >>> import rmsfast
    >>> from rmsfast.objectives import beale
    >>> rng = np.random.default_rng(0)
    >>> chunks = (rng.uniform(0.0, 2.0, (100, 2)) for _ in range(3))
    >>> [len(result.fun) for result in rmsfast.minimize_chunks(beale, chunks)]
    [100, 100, 100]
    """
    for chunk in chunks:
        if isinstance(chunk, tuple):
            starts, args = chunk
            result = minimize_many(fun, starts, args, **options)
        else:
            result = minimize_many(fun, chunk, **options)
        yield result
        if (result.status == status.INTERRUPTED).any():
            return


class _Problems:
    """The problems, checked."""

    def __init__(
        self,
        fun: Any,
        x0s: Any,
        args: Any,
        jac: Any,
        bounds: Any,
        options: dict[str, Any],
        vectorize: bool | None,
    ) -> None:
        if vectorize is not None:
            check_flag("vectorize", vectorize)
        self.vectorize = vectorize
        self.fun, self.jac = fun, jac
        self.x0s = _check_starts(x0s)
        count = len(self.x0s)
        self.args = args if isinstance(args, tuple) else (args,)
        for i, value in enumerate(self.args):
            if isinstance(value, PerProblem) and len(value) != count:
                raise ValueError(
                    f"args[{i}] must have one entry for each of the {count} problems, "
                    f"got {len(value)}"
                )
        self.lower, self.upper = _check_bounds(bounds, self.x0s)
        self.bounded = bool((np.isfinite(self.lower) | np.isfinite(self.upper)).any())
        for name in ("disp", "return_all"):
            if name in options:
                raise TypeError(f"{name} is for a single run, got {name}={options[name]!r}")
        rest = dict(options)
        self.report = take(ReportOptions, rest)
        start = self.x0s[0] if count else np.zeros(self.x0s.shape[1], self.x0s.dtype)
        self.template = Solver(start, **rest)
        self.options = {name: value for name, value in options.items() if name in _KNOWN}
        self.own = [isinstance(a, PerProblem) for a in self.args]
        self._evaluate: Evaluator | None = None
        points = 0
        if count:
            lower, upper = self.bounds_of(0)
            self._evaluate = evaluator(
                fun, jac, self.args_of(0), lower, upper, start, self.report.finite_diff
            )
            points = self._evaluate.points
        # calls of the user's function in one evaluation, for all problems or for each
        self.calls = 1 + points * np.count_nonzero(self.lower < self.upper, axis=1)

    @property
    def compiled(self) -> bool:
        """Whether the objective is compiled."""
        return self._evaluate is not None and self._evaluate.signature is not None

    def args_of(self, k: int) -> tuple[Any, ...]:
        """Return the arguments of problem `k`."""
        pairs = zip(self.args, self.own, strict=True)
        return tuple(a.array[k] if own else a for a, own in pairs)

    def bounds_of(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper bounds of problem `k`."""
        row = k if len(self.lower) > 1 else 0
        return self.lower[row], self.upper[row]

    def part(self, problems: slice) -> tuple[Any, ...]:
        """Return what makes `_Problems` of some of the problems."""
        rows = problems if len(self.lower) > 1 else slice(None)
        args = tuple(a[problems] if isinstance(a, PerProblem) else a for a in self.args)
        bounds = Bounds(self.lower[rows], self.upper[rows]) if self.bounded else None
        x0s = self.x0s[problems]
        return self.fun, x0s, args, self.jac, bounds, self.options, self.vectorize

    def solve(self, threads: int | None, report: Callable[[int], Any]) -> ManyResult:
        """Solve all problems in this process.

        Parameters
        ----------
        threads : int or None
            For a compiled objective; None for all of Numba's.
        report : callable
            Is told how many problems have ended.

        Returns
        -------
        ManyResult
            Of all, also after Ctrl-C.
        """
        found = self._begin()
        errors: dict[int, str] = {}
        if self._evaluate is not None and self.compiled:
            with suppress(KeyboardInterrupt):
                self._solve_compiled(self._evaluate, threads, report, found)
        else:
            self._solve_in_python(report, found, errors)
        return self._collect(found, errors)

    def solve_on_device(self, report: Callable[[int], Any]) -> ManyResult:
        """Solve all problems on a GPU; `report` is told how many have ended."""
        found, evaluate = self._begin(), self._evaluate
        if evaluate is not None:
            from rmsfast import device_many  # imports CUDA

            self._check_only_reads(evaluate)
            stacked, _ = self._stack(evaluate)
            args = stacked if evaluate.place is None else stacked[evaluate.place]
            own = (*self.own, *[False] * (len(args) - len(self.own)))
            auto, rows = self.template.hyper.lr == "auto", len(self.template.w)
            place = args, own, auto, rows, self._queue(), self._start
            if not device_many.solve(self.fun.fun, *place, report, found):
                self._fail(int(found.ends[:, queue.EVALUATIONS].max()))
        return self._collect(found, {})

    def skip(self) -> ManyResult:
        """Return the result of problems that were never begun."""
        return self._collect(self._begin(), {})

    def _begin(self) -> queue.Found:
        """Return the results of problems that have not begun."""
        count, n = self.x0s.shape
        ends = np.zeros((count, 4), np.int64)
        ends[:, queue.STATUS] = status.RUNNING
        fun, jac = np.full(count, np.nan), np.full((count, n), np.nan, self.x0s.dtype)
        return queue.Found(self.x0s.copy(), fun, jac, ends)

    def _collect(self, found: queue.Found, errors: dict[int, str]) -> ManyResult:
        """Return the result of all problems."""
        x, fun, jac, ends = found
        codes, evaluations = ends[:, queue.STATUS].copy(), ends[:, queue.EVALUATIONS].copy()
        codes[codes == status.RUNNING] = status.INTERRUPTED
        maximize = bool(self.template.hyper.maximize)
        return ManyResult(
            x=x,
            fun=(-fun if maximize else fun).astype(self.x0s.dtype, copy=False),
            jac=jac,
            nit=ends[:, queue.NIT].copy(),
            nfev=evaluations * self.calls,
            njev=evaluations,
            status=codes,
            success=np.isin(codes, status.SUCCESS),
            message=self._messages(codes, ends[:, queue.STALLED], errors),
            maximize=maximize,
        )

    def _messages(
        self, codes: np.ndarray, stalled: np.ndarray, errors: dict[int, str]
    ) -> np.ndarray:
        """Return the statuses in words."""
        constant = bool(self.template.state["constant"])
        keys = codes + status.COUNT * stalled
        known = np.sort(keys)  # np.unique with the inverse takes five times as long
        known = known[np.diff(known, prepend=-1) > 0]
        texts = [message(*divmod(int(key), status.COUNT)[::-1], constant) for key in known]
        messages = np.array([*texts, None], dtype=object)[np.searchsorted(known, keys)]
        for k, text in errors.items():
            messages[k] = text
        return messages

    def _solve_compiled(
        self,
        evaluate: Evaluator,
        threads: int | None,
        report: Callable[[int], Any],
        found: queue.Found,
    ) -> None:
        """Solve in compiled code, on threads that share a queue."""
        self._check_only_reads(evaluate)
        template, run = self.template, functools.partial(self._run, threads, report)
        stacked, kinds = self._stack(evaluate)
        problems = self._queue()
        self._solve_in_lanes(evaluate, stacked, kinds, problems, run, found)
        codes, steps = found.ends[:, queue.STATUS], RATES
        order = np.flatnonzero(codes == status.RUNNING)
        if order.size == 0:
            return
        signature: Any = evaluate.signature
        solve = queue.queue_driver(signature, kinds, template.hyper.lr == "auto")
        objective = address(evaluate.function, signature), stacked, evaluate.args

        def work(*shared: Any) -> None:
            solve(objective, *shared, (np.empty_like(template.w), np.empty(1, core.STATE)), found)

        while order.size > 0:
            start = self._start(steps)
            if run(work, problems._replace(order=order), start):
                return
            # those that came to the end of the rates begin again, with more
            order = np.flatnonzero(codes == status.RUNNING)
            steps *= 8
            if order.size > 0 and start.rates.size < steps // 8:
                self._fail(start.rates.size)

    def _check_only_reads(self, evaluate: Evaluator) -> None:
        """Raise if the objective writes into its point."""
        x = self.x0s[0].copy()
        with suppress(Exception):  # the queue meets it again, and says which problems raise
            evaluate(x, np.empty_like(x))
        if x.tobytes() != self.x0s[0].tobytes():
            raise ValueError("fun wrote into x: an objective must only read it")

    def _queue(self) -> queue.Problems:
        """Return all problems."""
        limits = np.minimum(np.maximum(1, self.template.options.maxfun // self.calls), MANY)
        order = np.arange(len(self.x0s))
        return queue.Problems(order, limits, self.x0s, self.lower, self.upper)

    def _fail(self, step: int) -> None:
        """Raise what the schedule raises at a step."""
        self.template.state["evaluations"] = step
        self.template.rates(1)

    def _solve_in_lanes(
        self,
        evaluate: Evaluator,
        stacked: tuple[Any, ...],
        kinds: Any,
        problems: queue.Problems,
        run: Callable[..., bool],
        found: queue.Found,
    ) -> None:
        """Solve side by side, where that is possible and wanted, what does not raise."""
        driver = self._lanes(evaluate, stacked, kinds)
        if driver is None:
            return
        solve, size = driver

        def work(*shared: Any) -> None:
            solve(stacked, *shared, _line_aligned(size), found)

        with suppress(Exception):  # of the objective; the queue goes on with what is left
            if run(work, problems, self._start(LANES_RATES)):
                raise KeyboardInterrupt

    def _lanes(self, evaluate: Evaluator, stacked: tuple[Any, ...], kinds: Any) -> Any:
        """Return the driver across lanes and its bytes of work per thread, or None."""
        state = self.template.state
        steps = len(self.x0s) * int(min(state["maxiter"], state["max_evaluations"]))
        wanted = steps >= VECTORIZE_STEPS if self.vectorize is None else self.vectorize
        boxed = (np.isfinite(self.lower) | np.isfinite(self.upper)).any(axis=1)
        if not wanted or self.template.hyper.lr == "auto" or len(set(boxed.tolist())) > 1:
            return None
        if evaluate.place is not None or evaluate.points or not is_jitted(evaluate.function):
            return None
        state["bounded"] = self.bounded
        kind = lanes.variant(state)
        if kind is None:
            return None
        function, n = evaluate.function.py_func, self.x0s.shape[1]
        T: Any = self.x0s.dtype.type
        shapes = tuple(
            value.shape[1:] if own else None
            for value, own in zip(stacked, [*self.own, *[False] * len(stacked)], strict=False)
        )
        with suppress(NumbaError):
            if self.vectorize or lanes.vectorises(function, n, T, tuple(kinds), shapes):
                return lanes.driver(function, n, T, tuple(kinds), shapes, kind)
        return None

    def _start(self, steps: int) -> queue.Start:
        """Return how each begins, with the learning rates of the first steps.

        One more than are needed, if these are all.
        """
        template = self.template
        rates = template.rates(steps)
        last = min(int(template.state["maxiter"]), int(template.state["max_evaluations"]) - 1)
        if rates.size == last > 0:
            rates = np.append(rates, rates[-1])
        return queue.Start(template.record, rates, float(template.hyper.initial_scale))

    def _run(
        self,
        threads: int | None,
        report: Callable[[int], Any],
        work: Callable[..., None],
        problems: queue.Problems,
        start: queue.Start,
    ) -> bool:
        """Call ``work(problems, start, counters)`` on all threads; return whether Ctrl-C came."""
        nested = self._goes_parallel()
        count = numba.get_num_threads() if threads is None else threads
        count = 1 if nested else min(count, len(self.x0s))
        counters, before = np.zeros(3, np.int64), len(self.x0s) - len(problems.order)
        ended: SimpleQueue[BaseException | None] = SimpleQueue()

        def run() -> None:
            try:
                work(problems, start, counters)
            except BaseException as error:
                ended.put(error)
            else:
                ended.put(None)

        left = 0
        with reserve() if nested else nullcontext():
            try:
                for _ in range(count):
                    start_new_thread(run, ())  # threading.Thread waits until each has begun
                    left += 1
                while left > 0:
                    try:
                        error = ended.get(timeout=LOOK_SECONDS)
                    except Empty:
                        error = None
                    else:
                        left -= 1
                    if error is not None:
                        raise error
                    report(before + int(counters[queue.DONE]))
            except KeyboardInterrupt:
                return True
            finally:
                counters[queue.STOP] = 1
                for _ in range(left):
                    ended.get()
        return False

    def _goes_parallel(self) -> bool:
        """Whether the compiled objective runs on Numba's threads itself, which must not nest."""
        functions = (getattr(self.fun, "fun", self.fun), self.jac)
        overloads: list[Any] = [o for f in functions if is_jitted(f) for o in f.overloads.values()]
        return any(_is_parallel(overload.library) for overload in overloads)

    def _stack(self, evaluate: Evaluator) -> tuple[tuple[Any, ...], Any]:
        """Return the arguments of all problems as the queue takes them, and their type."""
        signature: Any = evaluate.signature
        args, kinds = list(evaluate.args), list(signature.args[2:])
        if evaluate.points and len(self.lower) > 1:
            args[:2] = self.lower, self.upper
            kinds[:2] = map(numba.typeof, args[:2])
        if any(self.own):
            place = evaluate.place
            mine = list(args if place is None else args[place])
            types_of_mine = list(kinds if place is None else kinds[place])
            for i, own in enumerate(self.own):
                if own:
                    mine[i] = self.args[i].array
                    types_of_mine[i] = numba.typeof(mine[i])
            if place is None:
                args, kinds = mine, types_of_mine
            else:
                args[place], kinds[place] = tuple(mine), types.Tuple(types_of_mine)
        return tuple(args), types.Tuple(kinds)

    def _solve_in_python(
        self, report: Callable[[int], Any], found: Any, errors: dict[int, str]
    ) -> None:
        """Solve one after the other."""
        x, fun, jac, ends = found
        sign = -1.0 if self.template.hyper.maximize else 1.0
        calls = np.broadcast_to(self.calls, len(x))
        try:
            for k in range(len(x)):
                try:
                    single = self.solve_alone(k)
                except Exception as error:
                    ends[k, queue.STATUS] = status.OBJECTIVE
                    errors[k] = f"The objective raised {type(error).__name__}: {error}"
                else:
                    x[k], fun[k], jac[k] = single.x, sign * single.fun, single.jac
                    ends[k, :3] = single.status, single.nit, single.nfev // calls[k]
                    errors[k] = single.message
                report(k + 1)
        except KeyboardInterrupt:
            pass

    def solve_alone(self, k: int) -> OptimizeResult:
        """Solve problem `k` by itself."""
        bounds = Bounds(*self.bounds_of(k)) if self.bounded else None
        return rmsprop(
            self.fun, self.x0s[k], self.args_of(k), self.jac, bounds=bounds, **self.options
        )


@functools.lru_cache(maxsize=64)
def _is_parallel(library: Any) -> bool:
    """Whether compiled code calls Numba's threads; LLVM takes 0.3 ms to write it out."""
    return not library._disable_inspection and "numba_parallel_for" in library.get_llvm_str()


def _solve_part(part: tuple[Any, ...]) -> ManyResult:
    """Solve some of the problems, wherever a function like `map` calls this.

    A plain function: Ray takes no `functools.partial`.
    """
    fun, *rest = part
    problems = _Problems(fun if _stop is None else _watched(fun), *rest)
    result = problems.solve(1, lambda done: None)
    if (result.status == status.INTERRUPTED).any():
        raise KeyboardInterrupt  # or the map goes on with the next part
    return result


def _solve_by_processes(
    problems: _Problems, count: int | None, chunksize: int, report: Callable[[int], Any]
) -> ManyResult:
    """Solve chunks of problems in processes of their own."""
    for name, function in (("fun", problems.fun), ("jac", problems.jac)):
        _check_importable(name, function)
    context: Any = multiprocessing.get_context(_START_METHOD)
    stop = context.Event()
    pool = ProcessPoolExecutor(count, context, _be_worker, (stop,))
    try:
        with pool:
            return _solve_by_map(problems, pool.map, chunksize, report, stop)
    except BrokenProcessPool as error:
        raise BrokenProcessPool(
            "a process ended before its problems were solved: it was killed, or it could not "
            'import fun. A program starts processes below if __name__ == "__main__".'
        ) from error


def _check_importable(name: str, function: Any) -> None:
    """Raise if other processes cannot import a function."""
    main: Any = sys.modules["__main__"]
    text = (
        f"{name} must be importable where workers are processes, got {function!r}: define it at "
        "the top level of a file, or use workers=1 or a function like map"
    )
    try:
        pickled = pickle.dumps(function)
    except Exception as error:
        raise TypeError(text) from error
    interactive = main.__spec__ is None and not os.path.isfile(getattr(main, "__file__", ""))
    if interactive and b"__main__" in pickled:
        raise TypeError(text)


def _solve_by_map(
    problems: _Problems,
    workers: Callable[..., Any],
    chunksize: int,
    report: Callable[[int], Any],
    stop: Event | None,
) -> ManyResult:
    """Solve chunks of problems by a function like `map`; tell its processes of Ctrl-C by `stop`."""
    count = len(problems.x0s)
    if count == 0:
        return problems.solve(1, report)
    places = [slice(k, min(k + chunksize, count)) for k in range(0, count, chunksize)]
    parts: list[ManyResult] = []
    try:
        answers = workers(_solve_part, [problems.part(place) for place in places])
        if not isinstance(answers, Iterable):
            raise TypeError(f"workers must return an iterable of results, got {answers!r}")
        for answer in answers:
            parts.append(answer)
            report(places[min(len(parts), len(places)) - 1].stop)
    except KeyboardInterrupt:
        if stop is None:
            raise
        stop.set()
        for place in places[len(parts) :]:
            parts.append(_Problems(*problems.part(place)).skip())
    sizes = [len(part.fun) if isinstance(part, ManyResult) else None for part in parts]
    if sizes != [place.stop - place.start for place in places]:
        raise TypeError(
            f"workers must return the results of {len(places)} chunks, in order, got {parts!r:.200}"
        )
    whole = ManyResult(parts[0])
    for name, value in whole.items():
        if isinstance(value, np.ndarray):
            whole[name] = np.concatenate([part[name] for part in parts])
    return whole


_stop: Event | None = None  # of a process that works for another


def _be_worker(stop: Event) -> None:
    """Leave Ctrl-C to the process that asked, which sets `stop`."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _watched(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fun`, which stops where the process that asked was interrupted."""

    def watched(*args: Any) -> Any:
        if _stop is not None and _stop.is_set():
            raise KeyboardInterrupt
        return fun(*args)

    return watched


def _check_device(fun: Any, given: dict[str, Any]) -> None:
    """Raise if there is no GPU, or if it cannot solve what is `given`."""
    for name, value in given.items():
        raise TypeError(f"{name} must not be given with device='cuda', got {name}={value!r}")
    if not isinstance(fun, Objective):
        raise TypeError(
            "fun must be an rmsfast.Objective with device='cuda', which writes its gradient in "
            f"place, got {fun!r}"
        )
    if reason := why_not():
        raise RuntimeError(f"device='cuda' needs a GPU here: {reason}")


def _worker_count(workers: Any) -> int | None:
    """Return how many threads or processes are wanted, None if that is not said."""
    if workers is None:
        return None
    try:
        return check_count("workers", workers, 1)
    except ValueError:
        if workers == -1:
            return os.cpu_count() or 1
        raise ValueError(
            f"workers must be -1 or a whole number in [1, inf), got {workers!r}"
        ) from None


def _line_aligned(size: int) -> np.ndarray:
    """Return bytes that begin with a cache line."""
    buffer = np.empty(size + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + size]


def _array(name: str, values: Any) -> np.ndarray:
    """Return `values` as an array."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be an array, got rows of different lengths") from error


def _check_starts(x0s: Any) -> np.ndarray:
    """Return the starts as a new contiguous float64 or float32 array."""
    x0s = _array("x0s", x0s)
    if x0s.ndim != 2:
        raise ValueError(f"x0s must have shape (n_problems, n), got shape {x0s.shape}")
    if x0s.shape[1] == 0:
        raise ValueError(f"x0s must have at least one variable, got shape {x0s.shape}")
    x0s = np.array(x0s, real_dtype(x0s, "x0s"), order="C")
    wrong = ~np.isfinite(x0s)
    if wrong.any():
        k, i = np.argwhere(wrong)[0]
        raise ValueError(f"x0s must be finite, got x0s[{k}, {i}] = {x0s[k, i]}")
    return x0s


def _check_bounds(bounds: Any, x0s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper bounds, with one row for all problems or one for each."""
    count, n = x0s.shape
    if isinstance(bounds, PerProblem):
        if bounds.array.shape != (count, n, 2):
            raise ValueError(
                f"bounds must have shape {(count, n, 2)} for each problem its own, "
                f"got {bounds.array.shape}"
            )
        bounds = Bounds(bounds.array[..., 0], bounds.array[..., 1])
    if isinstance(bounds, Bounds) and max(np.ndim(bounds.lb), np.ndim(bounds.ub)) == 2:
        sides = [np.asarray(side) for side in (bounds.lb, bounds.ub)]
        for side in sides:
            if side.shape not in ((), (n,), (1, n), (count, 1), (count, n)):
                raise ValueError(f"bounds must have shape {(count, n)}, got {side.shape}")
        rows = [np.broadcast_to(side, (count, n)) for side in sides]
        crossed = ~(rows[0] <= rows[1])
        if crossed.any():
            k, i = np.argwhere(crossed)[0]
            raise ValueError(
                f"bounds[{k}, {i}]: the lower bound must not exceed the upper, "
                f"got {rows[0][k, i]} and {rows[1][k, i]}"
            )
        flat = read_bounds(Bounds(*(side.ravel() for side in rows)), count * n, x0s.dtype)
        lower, upper = (side.reshape(count, n) for side in flat)
    else:
        lower, upper = (side[None, :] for side in read_bounds(bounds, n, x0s.dtype))
    if not ((lower > -np.inf) | (upper < np.inf)).any():
        return lower, upper  # to compare so many short rows takes as long as all other checks
    outside = (x0s < lower) | (x0s > upper)
    if outside.any():
        k, i = np.argwhere(outside)[0]
        row = k if len(lower) > 1 else 0
        raise ValueError(
            f"x0s[{k}, {i}] must be in its bounds [{lower[row, i]}, {upper[row, i]}], "
            f"got {x0s[k, i]}"
        )
    return lower, upper


_KNOWN = {
    "preset",
    "tol",
    *(f.name for kind in (RMSPropOptions, SolverOptions, ReportOptions) for f in fields(kind)),
}
