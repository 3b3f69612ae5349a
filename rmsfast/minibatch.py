"""Mini-batches: objectives that are a mean over the rows of a data set."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import NumbaError
from numba.extending import is_jitted
from scipy.optimize import OptimizeResult

from rmsfast import schedules
from rmsfast.batches import Batches, Window, generator_of_orders, generator_state, read_data
from rmsfast.core import minibatch as core
from rmsfast.core import status
from rmsfast.core.drivers import address
from rmsfast.minimize import Callback, next_chunk
from rmsfast.objective import Evaluator, Objective, check_value, evaluator
from rmsfast.options import (
    RULES,
    MinibatchOptions,
    ReportOptions,
    RuleOptions,
    SolverOptions,
    check_count,
    check_flag,
    need_lr,
    take,
    take_hyperparameters,
)
from rmsfast.progress import bar
from rmsfast.solver import blank_record, check_start

# What a state holds beside arrays
STATE = (
    *("method", "nit", "averaged", "epoch", "lr"),
    *("lowest", "stalled", "lr_stalled", "best", "best_epoch", "rng"),
)
COMPILED = "?bBhHiIlLqQfdFD"  # dtypes, by their characters


def minimize_minibatch(
    fun: Any,
    x0: Any,
    data: Any,
    *,
    batch_size: int,
    epochs: int,
    args: Any = (),
    jac: Any = True,
    method: str | Callable[..., Any] | None = None,
    rng: Any = None,
    validation: Any = None,
    callback: Callable[..., Any] | None = None,
    progress: bool = False,
    state: dict[str, Any] | None = None,
    **options: Any,
) -> OptimizeResult:
    """Minimize a mean over the rows of a data set, one batch of rows at a time.

    Each epoch visits each row once, in a new random order, and takes a step of
    RMSProp, or of one of its rivals, for each batch. For a compiled objective
    the loop over the batches is compiled.

    Parameters
    ----------
    fun : Objective or callable
        The loss of a batch, the mean over its rows, and its gradient:
        ``fun(x, g, *batch, *args) -> float`` in a `rmsfast.Objective`, which
        writes the gradient into `g`; or ``fun(x, *batch, *args) -> (float,
        gradient)``, in Python or compiled by `numba.njit`. `batch` is a row
        block of each array of `data`, C-contiguous, valid during the call.
    x0 : array_like, shape (n,)
        The start; it is not changed. float32 stays float32, other real numbers
        become float64.
    data : array_like, or tuple or list of array_like
        Arrays of numbers of any dimensions, of which all have the same number
        of rows, along the first axis. A `numpy.memmap` is read in blocks of 64
        MiB, and may be larger than memory: its rows are shuffled within blocks
        only, and the blocks among each other, but for the last. A file that is
        sorted, by class or by time, should be shuffled once when it is written.
    batch_size : int
        Rows of a batch, at least 1. Where there are fewer rows all are used,
        with a warning.
    epochs : int
        Times that each row is visited, at least 0.
    args : tuple, optional
        Further arguments of `fun`.
    jac : callable or True, optional
        ``jac(x, *batch, *args)``, the gradient, if `fun` returns the loss alone.
    method : {"rmsprop", "gradient_descent", "momentum", "adagrad"}, optional
        The rule of a step, or its function. Default: "rmsprop".
    rng : None, int or numpy.random.Generator, optional
        Seeds the generator of the orders, by one draw; not used with
        ``shuffle=False``. The same seed gives the same run, to the last bit, at
        any number of threads. With `state`, None goes on with the generator of
        the former run. Orders take up to 32 bytes for each row.
    validation : array_like, tuple of array_like, or callable, optional
        Further rows, of the form of `data`, whose loss is computed at each
        evaluation, in one call of `fun`, which must only read them; or a
        function of `x` that returns it.
    callback : callable, optional
        ``callback(intermediate_result=...)``, with an `OptimizeResult` of `x`,
        `fun`, `loss`, `validation_loss`, `epoch` and `nit`, or
        ``callback(xk)``; called at each evaluation. Raising `StopIteration`
        ends the run with status 99.
    progress : bool, optional
        Show a progress bar; needs tqdm.
    state : dict, optional
        The `state` of a former result: the run goes on where that ended, with
        its point in place of `x0`. With the same data and options, without
        `rng`, and from the end of an epoch, the points are those of a run that
        did not end. So are the evaluations, but for the one that a run makes at
        its end, of the steps that are left. A run that `patience` stopped goes
        on to its next evaluation.

    Options
    -------
    lr : float or callable
        Learning rate, or a schedule of `rmsfast.schedules`; RMSProp needs one,
        or a preset that has one. `rmsfast.schedules.plateau` lowers the rate when its
        `patience`, in evaluations, has passed without a lower validation loss
        (training loss, if there is none); the point stays where it is.
    preset : str
        See `rmsfast.RMSPropOptions.preset`.
    rho, eps, momentum, nesterov, centered, eps_in_sqrt, bias_correction, \
initial_scale, weight_decay, decoupled, lr_in_momentum, clip_value, clip_norm, maximize
        See `rmsfast.RMSPropOptions`; rivals take those of the functions of
        their names, such as `rmsfast.adagrad`.
    shuffle : bool
        A new random order in each epoch. Default: True.
    drop_last : bool
        Leave out the short batch at the end of an epoch. Default: False.
    lr_interval : {"step", "epoch"}
        What a schedule counts. Default: "step".
    eval_steps : int
        Steps between two evaluations. Default: one at the end of each epoch.
    patience : int
        Stop when this many evaluations in a row have not lowered the validation
        loss. Default: go on.
    average : "polyak" or float
        Average the points: of all steps alike, or with this decay. Default: no
        average. See `rmsfast.options.MinibatchOptions`.
    average_start : int
        Epochs before the average begins. Default: 0.

    Returns
    -------
    OptimizeResult
        `x`, the last point; with `average`, the average; with `patience`, that
        of the evaluation with the lowest validation loss. `fun`, the validation
        loss of that evaluation, or the training loss if there is none. `x_last`,
        the last point itself. `loss` and `validation_loss`, arrays of shape
        ``(k,)`` with an entry for each evaluation: the mean training loss since
        the evaluation before, each batch at the point where it was used, and
        the loss of `validation` at `x` (None without). `epoch` and `seconds`,
        arrays of shape ``(k,)``: epochs done, and the time since the evaluation
        before. `best_epoch`, with `patience`: when the validation loss was lowest.
        `nit`, `nfev`, `njev`: steps, and calls of the objective. `state`, a dict
        of arrays and numbers, to go on from. `status`, `success`, `message`.

        ====== ======= ===============================================
        status success meaning
        ====== ======= ===============================================
        11     True    all epochs are done
        12     True    `patience` evaluations have not lowered the validation loss
        13     False   loss or gradient became NaN or infinite
        98     False   Ctrl-C
        99     False   `callback` raised `StopIteration`
        ====== ======= ===============================================

        With status 13 the last point whose loss was finite is returned, and
        what belongs to it; the message names the row of `data` that holds a NaN
        or inf, if one does.

    Raises
    ------
    TypeError
        If an argument or option is of the wrong type, or there is no such
        option.
    ValueError
        If an argument or option is outside its bounds, arrays differ in their
        number of rows, or `lr` is missing or "auto".

    Warns
    -----
    UserWarning
        If `batch_size` is larger than the number of rows.

    See Also
    --------
    rmsfast.RMSProp : for loops of one's own.

    Examples
    --------
    >>> import numpy as np
    >>> import rmsfast
    >>> @rmsfast.Objective
    ... def squares(x, g, A, b):
    ...     g[:] = 0.0
    ...     f = 0.0
    ...     for i in range(b.size):
    ...         r = A[i] @ x - b[i]
    ...         f += 0.5 * r * r / b.size
    ...         g += r / b.size * A[i]
    ...     return f
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((1000, 3))
    >>> b = A @ [1.0, -2.0, 0.5] + 0.1 * rng.standard_normal(1000)
    >>> result = rmsfast.minimize_minibatch(
    ...     squares, np.zeros(3), (A, b), batch_size=10, epochs=20, lr=0.01, rng=1)
    >>> result.x.round(1)
    array([ 1. , -2. ,  0.5])
    """
    report = None if callback is None else Callback(callback)
    check_flag("progress", progress)
    if method is None:
        method = "rmsprop"
    elif callable(method):
        method = getattr(method, "__name__", repr(method))
    training = _Training(
        *(fun, x0, data, batch_size, epochs, args, jac),
        *(method, rng, validation, state, options),
    )
    with bar(training.epochs * training.batches.steps, "steps", progress) as show:
        training.run(report, show)
    return training.result()


class _Training:
    """One call of `minimize_minibatch`."""

    def __init__(
        self,
        fun: Any,
        x0: Any,
        data: Any,
        batch_size: int,
        epochs: int,
        args: Any,
        jac: Any,
        method: str,
        rng: Any,
        validation: Any,
        state: dict[str, Any] | None,
        options: dict[str, Any],
    ) -> None:
        self.options = take(MinibatchOptions, options)
        self.method = method
        self.hyper = _numeric(options, method)
        for name in options:
            of_a_rule = name == "preset" or any(hasattr(rule, name) for rule in RULES.values())
            owner = f"method {method!r}" if of_a_rule else "minimize_minibatch"
            raise TypeError(f"{name!r} is no option of {owner}")
        self.epochs = check_count("epochs", epochs, 0)
        start = check_start(x0)
        size = check_count("batch_size", batch_size, 1)
        arrays, mapped = read_data("data", data)
        self._labels = [f"data[{k}]" for k in range(len(arrays))]
        if not isinstance(data, tuple | list):
            self._labels = ["data"]
        if size > len(arrays[0]):
            text = (
                f"batch_size={size} is larger than the {len(arrays[0])} rows of data: all are used"
            )
            warnings.warn(text, UserWarning, stacklevel=3)
            size = len(arrays[0])
        self.batches = Batches(arrays, mapped, size, self.options.drop_last)
        self.hyper.check_dtype(start.dtype)
        if self.options.patience is not None and validation is None:
            raise ValueError(f"patience={self.options.patience!r} needs validation, got None")
        args = args if isinstance(args, tuple) else (args,)
        if isinstance(fun, Objective) or is_jitted(fun):
            for label, array in zip(self._labels, arrays, strict=True):
                if array.dtype.char not in COMPILED:
                    raise TypeError(
                        f"{label} must be of a dtype that Numba compiles for, got {array.dtype}"
                    )
        self._evaluate = _evaluator(fun, jac, (*self.batches.sample(), *args), start)
        self._validate = _validator(fun, jac, validation, args, start, len(arrays))
        self._lay_out(start)
        self._follow(state)
        generator = generator_of_orders(rng)
        self.rng = generator if self.options.shuffle else None
        if self.rng is not None and rng is None and state is not None and state["rng"] is not None:
            saved = state["rng"]
            self.rng = np.random.Generator(getattr(np.random, saved["bit_generator"])())
            self.rng.bit_generator.state = saved
        self._code = status.EPOCHS
        self._where = ""  # a value of the data that is not finite stands
        self._log: list[tuple[float, float, float, float]] = []  # epoch, losses, seconds
        self._undone = 0  # evaluations that led to no step
        self._since = 0.0  # time of the last evaluation
        self._chunk = 1  # steps between two looks at signals
        self._driver = None if self._evaluate.signature is None else self._compile()

    def _lay_out(self, start: np.ndarray) -> None:
        """Make the arrays and records of a run from the start."""
        hyper = self.hyper
        names = ["x", "mean_square"]  # in this order in the core
        names += ["mean"] * hyper.centered + ["buffer"] * (hyper.momentum > 0)
        names += ["average"] * (self.options.average is not None)
        self._rows = {name: row for row, name in enumerate(names)}
        self._w = np.zeros((len(names), start.size), start.dtype)
        self._w[core.X] = start
        self._w[core.MEAN_SQUARE] = hyper.initial_scale
        self._g = np.empty_like(start)
        self._records = blank_record(hyper, SolverOptions()), np.zeros(1, core.RUN)
        self._state, self._sums = (record[0] for record in self._records)
        self._state["plain"] = hyper.is_plain
        lr = hyper.lr.lr if isinstance(hyper.lr, schedules.plateau) else hyper.lr
        self._schedule = lr if callable(lr) else None
        if self._schedule is None and self.options.lr_interval != "step":
            raise ValueError(
                f"lr_interval={self.options.lr_interval!r} needs a schedule, got lr={hyper.lr!r}"
            )
        self._state["lr"] = math.nan if callable(lr) else lr
        for name in ("mean", "buffer", "average"):
            self._sums[name] = self._rows.get(name, 0)
        decay = self.options.average
        self._sums["ema_decay"] = math.nan if decay in (None, "polyak") else decay
        self._epoch = 0
        self._lowest, self._stalled, self._lr_stalled = math.inf, 0, 0
        self._best: np.ndarray | None = None
        self._best_epoch = math.nan

    def _follow(self, former: dict[str, Any] | None) -> None:
        """Go on where a former run ended, if there was one."""
        if former is not None:
            _check_state(former, self.method, self._rows, self._w)
            for name, row in self._rows.items():
                self._w[row] = former[name]
            self._state["nit"], self._sums["averaged"] = former["nit"], former["averaged"]
            if isinstance(self.hyper.lr, schedules.plateau):
                self._state["lr"] = former["lr"]
            self._epoch, self._lowest = former["epoch"], former["lowest"]
            self._stalled, self._lr_stalled = former["stalled"], former["lr_stalled"]
            if former["best"] is not None and self.options.patience is not None:
                self._best = np.array(former["best"])
                self._best_epoch = former["best_epoch"]
        self._kept = self._w.copy()
        self._sums["kept_nit"] = self._state["nit"]
        self._sums["kept_averaged"] = self._sums["averaged"]
        self._first_nit = self._epoch_nit = self._nit

    @property
    def _nit(self) -> int:
        """Steps so far, those of former runs included."""
        return int(self._state["nit"])

    @property
    def _x(self) -> np.ndarray:
        """The point, or the average, a view."""
        return self._w[self._rows["average"] if self._sums["averaged"] else core.X]

    # The loop ------------------------------------------------------------------------------------

    def run(self, report: Callback | None, show: Callable[[int], Any]) -> None:
        """Train; tell `report` of evaluations and `show` how many steps are done."""
        drawn = generator_state(self.rng)
        self._since = time.perf_counter()
        try:
            with closing(self.batches.windows(self.epochs, self.rng)) as windows:
                for window in windows:
                    drawn = window.rng_state
                    if not self._use(window, report, show):
                        break
                else:
                    if self._sums["rows"] > 0:
                        self._look(report)
        except KeyboardInterrupt:
            self._code = status.INTERRUPTED
        finally:
            if self.rng is not None:  # which may have drawn ahead
                self.rng.bit_generator.state = drawn

    def _use(self, window: Window, report: Callback | None, show: Callable[[int], Any]) -> bool:
        """Take the steps of a window; return whether the run goes on."""
        first, count = 0, -(-window.rows // self.batches.batch_size)
        every = self.options.eval_steps
        while first < count:
            if self._nit == self._epoch_nit:
                self._begin_epoch()
            last = min(count, first + self._chunk)
            if every is not None:
                last = min(last, first + every - self._nit % every)
            rates = _NO_RATES
            if self._schedule is not None and self.options.lr_interval == "step":
                rates = schedules.rates(self._schedule, self._nit, self._nit + last - first)
                last = first + rates.size
            done = self._step(window, first, last, rates)
            show(self._nit - self._first_nit)
            if done < last:
                self._code = status.NONFINITE_BATCH
                self._where = self._find_nonfinite(window, done)
                return False
            first = last
            ends_epoch = window.ends_epoch and first == count
            if ends_epoch:
                self._epoch, self._epoch_nit = self._epoch + 1, self._nit
            due = ends_epoch if every is None else self._nit % every == 0
            if due and not self._look(report):
                return False
        return True

    def _begin_epoch(self) -> None:
        """Set what is constant in an epoch."""
        options = self.options
        averaging = options.average is not None and self._epoch >= options.average_start
        self._sums["averaging"] = averaging
        if self._schedule is not None and options.lr_interval == "epoch":
            (self._state["lr"],) = schedules.rates(self._schedule, self._epoch, self._epoch + 1)

    def _step(self, window: Window, first: int, last: int, rates: np.ndarray) -> int:
        """Take the steps of some batches; return the number of the batch after them."""
        nit = self._nit
        before = self._w[core.X].tobytes() if nit == self._first_nit else b""
        start = time.perf_counter()
        done = self._take(window, first, last, rates)
        seconds = time.perf_counter() - start
        self._chunk = next_chunk(self._chunk, seconds / (last - first))
        if before and self._kept[core.X].tobytes() != before:
            raise ValueError("fun wrote into x: an objective must only read it")
        self._undone += min(done + 1, last) - first - (self._nit - nit)
        return done

    def _compile(self) -> tuple[Callable[..., int], int, tuple[Any, ...]]:
        """Return the compiled loop over batches, and what it takes of the objective."""
        evaluate, count = self._evaluate, len(self.batches.arrays)
        kinds: Any = evaluate.signature
        args, types_of_args = evaluate.args, kinds.args[2:]
        if evaluate.place is None:  # else the user's arguments are a tuple, the first of these
            args, types_of_args = (args,), (types_of_args,)
        mine, *others = args
        types_of_mine, *types_of_others = types_of_args
        types_of_mine = tuple(types_of_mine)
        rest = (mine[count:], *others)
        types_of_rest = types.Tuple((types.Tuple(types_of_mine[count:]), *types_of_others))
        run = core.minibatch_driver(kinds, types.Tuple(types_of_mine[:count]), types_of_rest)
        return run, address(evaluate.function, kinds), rest

    def _take(self, window: Window, first: int, last: int, rates: np.ndarray) -> int:
        """Loop over some batches, in compiled code if the objective is."""
        arrays, records = (self._w, self._kept, self._g), (self._state, self._sums)
        if self._driver is not None:
            run, entry, rest = self._driver
            where = (window.data, window.rows, self.batches.batch_size, first, last)
            return run(entry, where, rest, arrays, *records, rates)
        for k in range(first, last):
            if rates.size > 0:
                self._state["lr"] = rates[k - first]
            start, stop = self._range(window, k)
            batch = tuple(array[start:stop].copy() for array in window.data)
            f = self._evaluate.function(self._w[core.X], self._g, *self._evaluate.args_with(batch))
            if core.advance(*arrays, *records, f, stop - start) != status.RUNNING:
                return k
        return last

    def _range(self, window: Window, k: int) -> tuple[int, int]:
        """Return where batch `k` begins and ends in the window."""
        size = self.batches.batch_size
        return k * size, min((k + 1) * size, window.rows)

    def _find_nonfinite(self, window: Window, k: int) -> str:
        """Say which row of batch `k` has a value that is not finite, if one has."""
        start, stop = self._range(window, k)
        for i, array in enumerate(window.data):
            part = array[start:stop]
            wrong = np.argwhere(~np.isfinite(part))
            if wrong.size:
                row, *column = wrong[0]
                origin = window.origin
                row += start
                row_of_data = origin + row if isinstance(origin, int) else origin[row]
                place = ", ".join(map(str, (row_of_data, *column)))
                return f" {self._labels[i]}[{place}] is {part[tuple(wrong[0])]}."
        return ""

    # Evaluations ---------------------------------------------------------------------------------

    def _look(self, report: Callback | None) -> bool:
        """Evaluate; return whether the run goes on."""
        sums, patience = self._sums, self.options.patience
        seconds = time.perf_counter() - self._since
        loss, validation = float(sums["loss"] / sums["rows"]), math.nan
        sums["loss"], sums["rows"] = 0.0, 0
        if self._validate is not None:
            validation = self._validate(self._x.copy())
        self._log.append((self._epochs_done, loss, validation, seconds))
        value = self._value
        signed = -value if self.hyper.maximize else value
        if signed < self._lowest:
            self._lowest, self._stalled, self._lr_stalled = signed, 0, 0
            if patience is not None:
                self._best, self._best_epoch = self._x.copy(), self._epochs_done
        else:
            self._stalled, self._lr_stalled = self._stalled + 1, self._lr_stalled + 1
        lr = self.hyper.lr
        if isinstance(lr, schedules.plateau) and self._lr_stalled >= lr.patience:
            self._state["lr"] *= lr.factor
            self._lr_stalled = 0
        told = None if self._validate is None else validation
        fields = {"fun": value, "loss": loss, "validation_loss": told}
        if report is not None and not report(
            self._x, **fields, epoch=self._epochs_done, nit=self._nit
        ):
            self._code = status.CALLBACK
        elif patience is not None and self._stalled >= patience:
            self._code = status.PATIENCE
            if self._best is None:
                self._code = status.NONFINITE_BATCH
                self._where = f" The validation loss is {validation}."
        self._since = time.perf_counter()
        return self._code == status.EPOCHS

    @property
    def _epochs_done(self) -> float:
        return self._epoch + (self._nit - self._epoch_nit) / self.batches.steps

    @property
    def _value(self) -> float:
        """The last validation loss, or training loss if there is no validation."""
        if not self._log:
            return math.nan
        return self._log[-1][1 if self._validate is None else 2]

    def result(self) -> OptimizeResult:
        """Return what was found."""
        w, state, sums = self._w, self._state, self._sums
        epoch, loss, validation, seconds = np.array(self._log).reshape(-1, 4).T
        x, fun = self._x, self._value
        if self._best is not None:
            x, fun = self._best, -self._lowest if self.hyper.maximize else self._lowest
        former = {name: w[row].copy() for name, row in self._rows.items()}
        former |= {
            "method": self.method,
            "nit": self._nit,
            "averaged": int(sums["averaged"]),
            "epoch": self._epoch,
            "lr": float(state["lr"]),
            "lowest": self._lowest,
            "stalled": self._stalled,
            "lr_stalled": self._lr_stalled,
            "best": None if self._best is None else self._best.copy(),
            "best_epoch": self._best_epoch,
            "rng": generator_state(self.rng),
        }
        return OptimizeResult(
            x=x.copy(),
            fun=fun,
            x_last=w[core.X].copy(),
            loss=loss.copy(),
            validation_loss=None if self._validate is None else validation.copy(),
            epoch=epoch.copy(),
            seconds=seconds.copy(),
            **({} if self.options.patience is None else {"best_epoch": self._best_epoch}),
            nit=self._nit - self._first_nit,
            nfev=self._nit - self._first_nit + self._undone,
            njev=self._nit - self._first_nit + self._undone,
            state=former,
            status=self._code,
            success=self._code in status.SUCCESS,
            message=status.MESSAGE[self._code] + self._where,
        )


def _numeric(options: dict[str, Any], method: str) -> RuleOptions:
    """Remove the hyperparameters from `options` and return them checked."""
    if method == "rmsprop":
        need_lr(options, options.get("preset"))
    if isinstance(options.get("lr"), str):
        raise ValueError(f"lr must be a number or a schedule, got {options['lr']!r}")
    return take_hyperparameters(options, method)


def _evaluator(fun: Any, jac: Any, args: tuple[Any, ...], x: np.ndarray) -> Evaluator:
    """Choose how the loss of a batch is evaluated."""
    if jac is not True and not callable(jac):
        raise TypeError(f"jac must be True or a callable, got {jac!r}")
    jac = jac if callable(jac) else not isinstance(fun, Objective)
    try:
        return evaluator(fun, jac, args, x, x, x, ReportOptions().finite_diff)
    except NumbaError as error:
        kinds = ", ".join(str(getattr(value, "dtype", type(value).__name__)) for value in args)
        error.add_note(
            f"fun is compiled for x of {x.dtype} and then {len(args)} arguments: {kinds}. "
            "Data and x0 of one dtype are safest: products of matrices need it."
        )
        raise


def _validator(
    fun: Any, jac: Any, validation: Any, args: tuple[Any, ...], x: np.ndarray, count: int
) -> Callable[[np.ndarray], float] | None:
    """Return the function that computes the validation loss."""
    if validation is None:
        return None
    if isinstance(validation, Objective):
        raise TypeError(f"validation must be arrays or a function of x, got {validation!r}")
    if callable(validation):
        return lambda x: check_value(validation(x), "validation")
    arrays, _ = read_data("validation", validation)
    if len(arrays) != count:
        raise ValueError(f"validation must hold as many arrays as data, {count}, got {len(arrays)}")
    ready = [np.ascontiguousarray(a, a.dtype.newbyteorder("=")) for a in arrays]
    evaluate, g = _evaluator(fun, jac, (*ready, *args), x), np.empty_like(x)
    return lambda x: float(evaluate(x, g))


def _check_state(former: Any, method: str, rows: dict[str, int], w: np.ndarray) -> None:
    """Raise if `former` is no state that a run with these accumulators can go on from."""
    if not isinstance(former, dict) or "nit" not in former:
        raise TypeError(f"state must be the state of a result, got {former!r:.80}")
    missing = [name for name in STATE if name not in former]
    if missing:
        raise ValueError(f"state must be the state of a result, got none of {missing[0]!r}")
    if former["method"] != method:
        raise ValueError(f"state must be of method {method!r}, got {former['method']!r}")
    for name in ("mean", "buffer", "average"):
        if name in former and name not in rows:
            raise ValueError(
                f"state has {name!r}, for which there is no use: is it of other options?"
            )
    for name in rows:
        array = np.asarray(former.get(name))
        if array.shape != w[0].shape or array.dtype != w.dtype:
            raise ValueError(
                f"state[{name!r}] must be of shape {w[0].shape} and dtype {w.dtype}, "
                f"got {array.shape} and {array.dtype}: is it of other options?"
            )


_NO_RATES = np.empty(0)
