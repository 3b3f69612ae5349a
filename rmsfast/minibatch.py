"""Mini-batches: objectives that are a mean over the rows of a data set."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core.errors import NumbaError
from numba.extending import is_jitted
from scipy.optimize import OptimizeResult

from rmsfast.batches import Batches, labels, read_data
from rmsfast.minimize import Callback
from rmsfast.objective import Evaluator, Objective, check_value, evaluator
from rmsfast.options import (
    RULES,
    MinibatchOptions,
    ReportOptions,
    RMSPropOptions,
    RuleOptions,
    check_count,
    check_flag,
    hint,
    names_of,
    need_lr,
    rule_of,
    take,
    take_hyperparameters,
)
from rmsfast.progress import bar
from rmsfast.solver import check_start
from rmsfast.training import Task, Training

COMPILED = "?bBhHiIlLqQfdFD"  # dtypes that Numba knows, by their characters


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
        the former run. Orders take up to 20 bytes for each row, of more than
        2**31 rows 32.
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
    chosen = take(MinibatchOptions, options)
    hyper = _hyperparameters(options, method)
    epochs = check_count("epochs", epochs, 0)
    start = check_start(x0)
    size = check_count("batch_size", batch_size, 1)
    arrays, mapped = read_data("data", data)
    if size > len(arrays[0]):
        text = f"batch_size={size} is larger than the {len(arrays[0])} rows of data: all are used"
        warnings.warn(text, UserWarning, stacklevel=2)
        size = len(arrays[0])
    batches = Batches(arrays, mapped, size, chosen.drop_last)
    hyper.check_dtype(start.dtype)
    if chosen.patience is not None and validation is None:
        raise ValueError(f"patience={chosen.patience!r} needs validation, got None")
    args = args if isinstance(args, tuple) else (args,)
    names = labels("data", data)
    if isinstance(fun, Objective) or is_jitted(fun):
        _check_compilable(names, arrays)
    task = Task(
        method=method,
        hyper=hyper,
        options=chosen,
        epochs=epochs,
        start=start,
        batches=batches,
        labels=names,
        objective=_evaluator(fun, jac, (*batches.sample(), *args), start),
        validate=_validator(fun, jac, validation, args, start, len(arrays)),
    )
    training = Training(task, rng, state, report)
    with bar(epochs * batches.steps, "steps", progress) as show:
        training.run(show)
    return training.result()


def _hyperparameters(options: dict[str, Any], method: str) -> RuleOptions:
    """Return the hyperparameters among the options, checked, if there are no others."""
    kind = rule_of(method)
    known = names_of(kind) | ({"preset"} if kind is RMSPropOptions else set())
    for name in options:
        if name not in known:
            of_a_rule = name == "preset" or any(hasattr(rule, name) for rule in RULES.values())
            owner = f"method {method!r}" if of_a_rule else "minimize_minibatch"
            raise TypeError(f"{name!r} is no option of {owner}{hint(name, kind)}")
    if kind is RMSPropOptions:
        need_lr(options, options.get("preset"))
    if isinstance(options.get("lr"), str):
        raise ValueError(f"lr must be a number or a schedule, got {options['lr']!r}")
    return take_hyperparameters(options, method)


def _check_compilable(names: list[str], arrays: tuple[np.ndarray, ...]) -> None:
    """Raise TypeError if Numba has no type for the numbers of an array."""
    for label, array in zip(names, arrays, strict=True):
        if array.dtype.char not in COMPILED:
            raise TypeError(
                f"{label} must be of a dtype that Numba compiles for, got {array.dtype}"
            )


def _evaluator(fun: Any, jac: Any, args: tuple[Any, ...], x: np.ndarray) -> Evaluator:
    """Choose how the loss of a batch is evaluated."""
    if jac is not True and not callable(jac):
        raise TypeError(f"jac must be True or a callable, got {jac!r}")
    try:
        # There is a gradient: bounds, here x, and the kind of differences are not used
        return evaluator(fun, jac, args, x, x, x, ReportOptions.finite_diff)
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
