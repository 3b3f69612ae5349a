"""The steps of one problem on a GPU: what they work on, and which kernels they launch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rmsfast.core.cuda import auto, numeric, reduction, terms
from rmsfast.core.solver import LOWER, UPPER, G, X, rows
from rmsfast.options import RuleOptions

cuda = terms.cuda

Vectors = tuple[np.ndarray, np.ndarray, np.ndarray]  # the start, and both bounds


class Given(NamedTuple):
    """The objective.

    Attributes
    ----------
    term, grad : Dispatcher or None
        Of a sum of terms.
    args : tuple
        Their further arguments, on the device.
    call : callable or None
        Else ``call(x) -> (f, g)``, a function of device arrays, `f` of shape (1,).
    """

    term: Any
    grad: Any
    args: tuple[Any, ...]
    call: Callable[[Any], tuple[Any, Any]] | None


class Steps(NamedTuple):
    """How a run goes on, and what it works on.

    Attributes
    ----------
    points : device array, shape (3, n)
        As the rows X of the work array.
    gradients : device array, shape (3, n), or None
        Likewise, where they are stored.
    notes : device array of dtype NOTES, shape (1,)
        The record, and what kernels tell one another.
    take : callable
        ``take(rates, begun)`` launches one step; see `rmsfast.core.cuda.numeric.settle_kernel`.
    """

    points: Any
    gradients: Any
    notes: Any
    take: Callable[[Any, int], None]


def over_all(kernel: Any, n: int) -> Any:
    """Return the launch of a kernel over `n` variables."""
    return _configured(kernel, reduction.blocks_of(n))


def _in_one_block(kernel: Any) -> Any:
    return _configured(kernel, 1)


def _configured(kernel: Any, blocks: int) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Grid size")  # few blocks are no mistake
        return kernel[blocks, reduction.THREADS]


def _notes(record: np.ndarray, n: int) -> Any:
    notes = np.zeros(1, terms.NOTES)
    notes["blocks"] = reduction.blocks_of(n)
    write_record(notes, record)
    return cuda.to_device(notes)


def write_record(notes: np.ndarray, record: np.ndarray) -> None:
    """Write the record of a run into its notes."""
    notes.view(np.uint8)[: record.nbytes] = record.view(np.uint8)


def _calls(given: Given, shown: Any, notes: Any, gradients: Any) -> list[Callable[[], None]]:
    """Return what is done before the kernels of a step: nothing, or the call of a function."""
    call = given.call
    if call is None:
        return []
    keep = over_all(terms.keep_kernel(), shown.size)

    def evaluate() -> None:
        f, g = call(shown)
        keep(notes, gradients, f, g)

    return [evaluate]


def numeric_steps(hyper: RuleOptions, record: np.ndarray, given: Given, vectors: Vectors) -> Steps:
    """Lay out a run with a numeric learning rate.

    Parameters
    ----------
    hyper : RuleOptions
        Its hyperparameters.
    record : ndarray of dtype STATE, shape (1,)
        At the start.
    given : Given
        The objective.
    vectors : tuple of ndarray
        The start and the bounds, each of shape (n,).
    """
    state, (x0, lower, upper), h = record[0], vectors, hyper.hyper()
    n, dtype, stored = x0.size, x0.dtype, given.call is not None
    kind = numeric.Kind(
        T=dtype.type,
        flags=tuple(map(bool, h[numeric.NUMBERS :])),
        momentum=h.momentum != 0,
        weight_decay=h.weight_decay != 0,
        clip_norm=hyper.clip_norm is not None,
        plateau=bool(state["plateau_patience"] > 0),
        bounded=bool(state["bounded"]),
        short=bool(state["xtol"] > 0),
        constant=bool(state["constant"]),
        stored=stored,
    )

    def zeros(used: bool) -> Any:
        return cuda.to_device(np.zeros(n if used else 1, dtype))

    points, gradients = (cuda.device_array((3, m), dtype) for m in (n, n if stored else 1))
    points[0].copy_to_device(x0)
    notes = _notes(record, n)
    run = numeric.Run(
        points=points,
        gradients=gradients,
        s=cuda.to_device(np.full(n, hyper.initial_scale, dtype)),
        m=zeros(kind.centered),
        b=zeros(kind.momentum),
        lower=cuda.to_device(lower) if kind.bounded else zeros(False),
        upper=cuda.to_device(upper) if kind.bounded else zeros(False),
        reference=zeros(kind.constant),
        shown=cuda.to_device(x0) if stored else zeros(False),
    )
    calls = _calls(given, run.shown, notes, gradients)
    if kind.fused:
        take = _fused(given, kind, run, notes)
    else:
        take = _one_by_one(given, kind, run, notes, calls)
    return Steps(points, gradients if stored else None, notes, take)


def _fused(
    given: Given, kind: numeric.Kind, run: numeric.Run, notes: Any
) -> Callable[[Any, int], None]:
    """Return the step of a sum of terms that needs one pass."""
    sweep = over_all(numeric.sweep_kernel(given.term, given.grad, kind), run.s.size)
    settle = _in_one_block(numeric.settle_kernel(kind, True, True))

    def take(rates: Any, begun: int) -> None:
        sweep(run, notes, given.args)
        settle(notes, rates, begun)

    return take


def _one_by_one(
    given: Given,
    kind: numeric.Kind,
    run: numeric.Run,
    notes: Any,
    calls: list[Callable[[], None]],
) -> Callable[[Any, int], None]:
    """Return the step that takes in the value before it updates."""
    n, grad, args = run.s.size, given.grad, given.args
    values = [] if kind.stored else [over_all(numeric.value_kernel(given.term), n)]
    choose = _in_one_block(numeric.settle_kernel(kind, True, False))
    norms = [
        (
            over_all(numeric.norm_kernel(grad, kind, squares), n),
            _in_one_block(numeric.scale_kernel(squares)),
        )
        for squares in (False, True)
    ]
    sweep = over_all(numeric.sweep_kernel(None, grad, kind), n)
    judge = _in_one_block(numeric.settle_kernel(kind, False, True))

    def take(rates: Any, begun: int) -> None:
        for evaluate in calls:
            evaluate()
        for value in values:
            value(run, notes, args)
        choose(notes, rates, begun)
        if kind.clip_norm:
            for norm, scale in norms:
                norm(run, notes, args)
                scale(notes)
        sweep(run, notes, args)
        judge(notes, rates, begun)

    return take


def auto_steps(record: np.ndarray, given: Given, vectors: Vectors) -> Steps:
    """Lay out a run with ``lr="auto"``: a step is a round of kernels.

    Parameters
    ----------
    record, given, vectors
        As of `numeric_steps`.
    """
    state, (x0, lower, upper) = record[0], vectors
    n, maxcor, stored = x0.size, int(state["maxcor"]), given.call is not None
    T: Any = x0.dtype.type
    w = cuda.device_array((rows(maxcor), n), T)
    w[X].copy_to_device(x0)
    kind = auto.Kind(T, bool(state["bounded"]), bool(state["xtol"] > 0))
    if kind.bounded:
        w[LOWER].copy_to_device(lower)
        w[UPPER].copy_to_device(upper)
    notes, gradients = _notes(record, n), w[G : G + 3]
    shown = cuda.to_device(x0 if stored else x0[:1])
    calls = _calls(given, shown, notes, gradients)
    passes: dict[str, Any] = {
        "measure": auto.measure_kernel(given.term, given.grad, kind),
        "average": auto.average_kernel(T),
        "metric": auto.metric_kernel(T),
        "first": auto.first_loop_kernel(T, kind.bounded),
        "second": auto.second_loop_kernel(T, kind.bounded),
        "move": auto.move_kernel(T, kind.bounded, stored),
    }
    passes = {name: over_all(kernel, n) for name, kernel in passes.items()}
    ends: dict[str, Any] = {
        "measure": auto.judge_kernel(kind, stored),
        "average": auto.settle_average_kernel(),
        "metric": auto.settle_metric_kernel(),
        "first": auto.settle_first_loop_kernel(T, kind.bounded),
        "second": auto.settle_second_loop_kernel(),
        "move": auto.settle_move_kernel(),
    }
    ends = {name: _in_one_block(kernel) for name, kernel in ends.items()}

    def launch(name: str, to_pass: tuple[Any, ...] = (), to_both: tuple[Any, ...] = ()) -> None:
        passes[name](w, notes, *to_pass, *to_both)
        ends[name](notes, *to_both)

    def take(rates: Any, begun: int) -> None:
        for evaluate in calls:
            evaluate()
        launch("measure", (given.args,))
        launch("average")
        launch("metric")
        if maxcor > 0:
            for k in range(maxcor + 1):
                launch("first", to_both=(k,))
            for k in range(maxcor - 1, -1, -1):
                launch("second", to_both=(k,))
        launch("move", (shown,))
        if calls:  # where the step led nowhere: a round more would call the function in vain
            launch("average")
            launch("move", (shown,))

    return Steps(w[X : X + 3], gradients, notes, take)
