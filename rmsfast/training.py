"""The loop of `minimize_minibatch`: epochs, windows, batches, and evaluations between them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numba import types
from scipy.optimize import OptimizeResult

from rmsfast import schedules
from rmsfast.batches import Batches, Window, generator_of_orders, generator_state
from rmsfast.core import minibatch as core
from rmsfast.core import status
from rmsfast.core.drivers import address
from rmsfast.minimize import Callback, next_chunk
from rmsfast.objective import Evaluator
from rmsfast.options import MinibatchOptions, RuleOptions, SolverOptions
from rmsfast.solver import blank_record


@dataclass(frozen=True)
class Task:
    """What is to be minimized, and how; all of it checked.

    Parameters
    ----------
    method : str
        The rule of a step, by name.
    hyper : RuleOptions
        Its hyperparameters.
    options : MinibatchOptions
        When to evaluate, when to stop, what to average.
    epochs : int
        Times that each row is visited.
    start : ndarray, shape (n,)
        The point to start from.
    batches : Batches
        The data.
    labels : list of str
        What messages call its arrays.
    objective : Evaluator
        The loss of a batch and its gradient, given one row as an example.
    validate : callable or None
        The validation loss at a point.
    """

    method: str
    hyper: RuleOptions
    options: MinibatchOptions
    epochs: int
    start: np.ndarray
    batches: Batches
    labels: list[str]
    objective: Evaluator
    validate: Callable[[np.ndarray], float] | None


@dataclass
class _Lowest:
    """The lowest value of all evaluations, and how long ago it was; part of a `state`."""

    lowest: float = math.inf  # with the sign that minimizing gives it
    stalled: int = 0  # evaluations since then
    lr_stalled: int = 0  # evaluations since then, or since the rate was lowered
    best: np.ndarray | None = None  # the point there, with `patience`
    best_epoch: float = math.nan


LOWEST = tuple(field.name for field in fields(_Lowest))
# What a state holds beside the arrays of a step
SAVED = ("method", "nit", "averaged", "epoch", "lr", *LOWEST, "rng")


class _Steps:
    """The point, all else that a step changes, and the loop over batches, compiled or not.

    Parameters
    ----------
    task : Task
        What is to be minimized.
    saved : dict or None
        The state of a former run to go on from; it is checked.

    Attributes
    ----------
    rows : dict of str to int
        Where each array stands in `w`.
    w : ndarray, shape (2 to 5, n)
        The point, the mean square, and what else a step changes.
    record : record of dtype `rmsfast.core.solver.STATE`
        Hyperparameters, learning rate, number of steps.
    tally : record of dtype `rmsfast.core.minibatch.RUN`
        The average, and the loss since the last evaluation.
    first_nit : int
        Steps of former runs.
    chunk : int
        Steps to take before the next look at signals.
    """

    def __init__(self, task: Task, saved: dict[str, Any] | None) -> None:
        hyper, average = task.hyper, task.options.average
        names = ["x", "mean_square"]  # in this order in the core
        names += ["mean"] * hyper.centered + ["buffer"] * (hyper.momentum > 0)
        names += ["average"] * (average is not None)
        self.rows = {name: row for row, name in enumerate(names)}
        self.w = np.zeros((len(names), task.start.size), task.start.dtype)
        self.w[core.X] = task.start
        self.w[core.MEAN_SQUARE] = hyper.initial_scale
        self.record = blank_record(hyper, SolverOptions())[0]
        self.record["plain"] = hyper.is_plain
        self.tally = np.zeros(1, core.RUN)[0]
        for name in ("mean", "buffer", "average"):
            self.tally[name] = self.rows.get(name, 0)
        self.tally["ema_decay"] = math.nan if average in (None, "polyak") else average
        if saved is not None:
            _check_saved(saved, task.method, self.rows, self.w)
            for name, row in self.rows.items():
                self.w[row] = saved[name]
            self.record["nit"], self.tally["averaged"] = saved["nit"], saved["averaged"]
        # What the core goes back to if the first loss is not finite
        self._kept = self.w.copy()
        self.tally["kept_nit"], self.tally["kept_averaged"] = self.nit, self.tally["averaged"]
        self._g = np.empty_like(task.start)
        self._objective, self._batches, self._labels = task.objective, task.batches, task.labels
        self._compiled = None if task.objective.signature is None else self._compile()
        self.first_nit = self.nit
        self._undone = 0  # evaluations that led to no step
        self.chunk = 1

    @property
    def nit(self) -> int:
        """Steps so far, those of former runs included."""
        return int(self.record["nit"])

    @property
    def nfev(self) -> int:
        """Calls of the objective; counted by the core with the steps, whenever Ctrl-C comes."""
        return self.nit - self.first_nit + self._undone

    @property
    def x(self) -> np.ndarray:
        """The point, or the average, a view."""
        return self.w[self.rows["average"] if self.tally["averaged"] else core.X]

    def pop_loss(self) -> float:
        """Return the mean loss over the rows since this was called last."""
        loss = float(self.tally["loss"] / self.tally["rows"])
        self.tally["loss"], self.tally["rows"] = 0.0, 0
        return loss

    def take(self, window: Window, first: int, last: int, rates: np.ndarray) -> int:
        """Take the steps of the batches `first` to `last` of a window.

        Parameters
        ----------
        window : Window
            The rows.
        first, last : int
            The range of batches; `last` is not part of it.
        rates : ndarray, shape (last - first,) or (0,)
            Learning rates, where they change from step to step.

        Returns
        -------
        int
            `last`, or the batch whose loss or gradient was not finite.

        Raises
        ------
        ValueError
            If the objective wrote into its point; the first step shows it.
        """
        nit = self.nit
        before = self.w[core.X].tobytes() if nit == self.first_nit else b""
        start = time.perf_counter()
        done = self._loop(window, first, last, rates)
        self.chunk = next_chunk(self.chunk, (time.perf_counter() - start) / (last - first))
        if before and self._kept[core.X].tobytes() != before:
            raise ValueError("fun wrote into x: an objective must only read it")
        self._undone += min(done + 1, last) - first - (self.nit - nit)
        return done

    def _loop(self, window: Window, first: int, last: int, rates: np.ndarray) -> int:
        """Take these steps in compiled code, or one by one."""
        arrays, records = (self.w, self._kept, self._g), (self.record, self.tally)
        if self._compiled is not None:
            run, entry, rest = self._compiled
            where = (window.data, window.rows, self._batches.batch_size, first, last)
            return run(entry, where, rest, arrays, *records, rates)
        for k in range(first, last):
            if rates.size > 0:
                self.record["lr"] = rates[k - first]
            start, stop = self._limits(window, k)
            batch = tuple(array[start:stop].copy() for array in window.data)
            args = self._objective.args_with(batch)
            f = self._objective.function(self.w[core.X], self._g, *args)
            if core.advance(*arrays, *records, f, stop - start) != status.RUNNING:
                return k
        return last

    def _limits(self, window: Window, k: int) -> tuple[int, int]:
        """Return where batch `k` begins and ends in the window."""
        size = self._batches.batch_size
        return k * size, min((k + 1) * size, window.rows)

    def find_nonfinite(self, window: Window, k: int) -> str:
        """Say which row of batch `k` has a value that is not finite, if one has."""
        start, stop = self._limits(window, k)
        for label, array in zip(self._labels, window.data, strict=True):
            part = array[start:stop]
            wrong = np.argwhere(~np.isfinite(part))
            if wrong.size:
                row, *column = wrong[0]
                place = ", ".join(map(str, (window.number(start + row), *column)))
                return f" {label}[{place}] is {part[tuple(wrong[0])]}."
        return ""

    def _compile(self) -> tuple[Callable[..., int], int, tuple[Any, ...]]:
        """Return the compiled loop over batches, and what it takes of the objective."""
        objective, count = self._objective, len(self._batches.arrays)
        kinds: Any = objective.signature
        args, types_of_args = objective.args, kinds.args[2:]
        if objective.place is None:  # else the user's arguments are a tuple, the first of these
            args, types_of_args = (args,), (types_of_args,)
        mine, *others = args
        types_of_mine, *types_of_others = types_of_args
        types_of_mine = tuple(types_of_mine)
        rest = (mine[count:], *others)
        types_of_rest = types.Tuple((types.Tuple(types_of_mine[count:]), *types_of_others))
        run = core.minibatch_driver(kinds, types.Tuple(types_of_mine[:count]), types_of_rest)
        return run, address(objective.function, kinds), rest


class Training:
    """One run.

    Parameters
    ----------
    task : Task
        What is to be minimized.
    rng : None, int or Generator
        Seeds the generator of the orders.
    saved : dict or None
        The state of a former run to go on from.
    report : Callback or None
        Is told of evaluations.
    """

    def __init__(
        self,
        task: Task,
        rng: Any,
        saved: dict[str, Any] | None,
        report: Callback | None,
    ) -> None:
        self._task, self._report = task, report
        self._schedule, self._plateau = None, None
        lr: Any = task.hyper.lr
        if isinstance(lr, schedules.plateau):
            self._plateau, lr = lr, lr.lr
        elif callable(lr):
            self._schedule, lr = lr, math.nan
        if self._schedule is None and task.options.lr_interval != "step":
            raise ValueError(
                f"lr_interval={task.options.lr_interval!r} needs a schedule, "
                f"got lr={task.hyper.lr!r}"
            )
        self._steps = _Steps(task, saved)
        generator = generator_of_orders(rng)  # bad input is told of in any case
        if rng is None and saved is not None and saved["rng"] is not None:
            generator.bit_generator.state = saved["rng"]
        self._rng = generator if task.options.shuffle else None
        self._epoch = 0
        self._lowest = _Lowest()
        if saved is not None:
            self._epoch = saved["epoch"]
            self._lowest = _Lowest(**{name: saved[name] for name in LOWEST})
            if task.options.patience is None or saved["best"] is None:
                self._lowest.best, self._lowest.best_epoch = None, math.nan
            else:
                self._lowest.best = np.array(saved["best"])
            if self._plateau is not None:
                lr = saved["lr"]
        self._steps.record["lr"] = lr
        self._epoch_nit = self._steps.nit  # where the epoch began
        self._code = status.EPOCHS
        self._detail = ""  # of the message: which value is not finite
        self._log: list[tuple[float, float, float, float]] = []  # epoch, losses, seconds
        self._since = 0.0  # time of the last evaluation

    def run(self, show: Callable[[int], Any]) -> None:
        """Train, and tell `show` how many steps are done."""
        task = self._task
        drawn = generator_state(self._rng)
        self._since = time.perf_counter()
        try:
            with closing(task.batches.windows(task.epochs, self._rng)) as windows:
                for window in windows:
                    drawn = window.rng_state
                    if not self._pass_through(window, show):
                        break
                else:
                    if self._steps.tally["rows"] > 0:  # steps that no evaluation has seen
                        self._evaluate()
        except KeyboardInterrupt:
            self._code = status.INTERRUPTED
        finally:
            if self._rng is not None:  # which may have drawn ahead
                self._rng.bit_generator.state = drawn

    def _pass_through(self, window: Window, show: Callable[[int], Any]) -> bool:
        """Take the steps of a window, evaluate when due; return whether the run goes on."""
        task, steps = self._task, self._steps
        every = task.options.eval_steps
        first, count = 0, -(-window.rows // task.batches.batch_size)
        while first < count:
            if steps.nit == self._epoch_nit:
                self._begin_epoch()
            last = min(count, first + steps.chunk)
            if every is not None:
                last = min(last, first + every - steps.nit % every)
            rates = _NO_RATES
            if self._schedule is not None and task.options.lr_interval == "step":
                rates = schedules.rates(self._schedule, steps.nit, steps.nit + last - first)
                last = first + rates.size  # fewer, if the schedule fails further on
            done = steps.take(window, first, last, rates)
            show(steps.nit - steps.first_nit)
            if done < last:
                self._code = status.NONFINITE_BATCH
                self._detail = steps.find_nonfinite(window, done)
                return False
            first = last
            ends_epoch = window.ends_epoch and first == count
            if ends_epoch:
                self._epoch, self._epoch_nit = self._epoch + 1, steps.nit
            due = ends_epoch if every is None else steps.nit % every == 0
            if due and not self._evaluate():
                return False
        return True

    def _begin_epoch(self) -> None:
        """Set what is constant in an epoch."""
        options, steps = self._task.options, self._steps
        averaging = options.average is not None and self._epoch >= options.average_start
        steps.tally["averaging"] = averaging
        if self._schedule is not None and options.lr_interval == "epoch":
            (steps.record["lr"],) = schedules.rates(self._schedule, self._epoch, self._epoch + 1)

    def _evaluate(self) -> bool:
        """Compute the losses, tell of them, and return whether the run goes on."""
        seconds = time.perf_counter() - self._since
        steps, validate, patience = self._steps, self._task.validate, self._task.options.patience
        epoch, loss = self._epochs_done, steps.pop_loss()
        validation = math.nan if validate is None else validate(steps.x.copy())
        self._log.append((epoch, loss, validation, seconds))
        self._compare(epoch)
        losses = {"loss": loss, "validation_loss": None if validate is None else validation}
        if self._report is not None and not self._report(
            steps.x, fun=self._value, **losses, epoch=epoch, nit=steps.nit
        ):
            self._code = status.CALLBACK
        elif patience is not None and self._lowest.stalled >= patience:
            self._code = status.PATIENCE
            if self._lowest.best is None:  # NaN is never the lowest
                self._code = status.NONFINITE_BATCH
                self._detail = f" The validation loss is {validation}."
        self._since = time.perf_counter()
        return self._code == status.EPOCHS

    def _compare(self, epoch: float) -> None:
        """Compare the last value with the lowest; lower the learning rate on a plateau."""
        so_far, plateau = self._lowest, self._plateau
        value = -self._value if self._task.hyper.maximize else self._value
        if value < so_far.lowest:
            so_far.lowest, so_far.stalled, so_far.lr_stalled = value, 0, 0
            if self._task.options.patience is not None:
                so_far.best, so_far.best_epoch = self._steps.x.copy(), epoch
        else:
            so_far.stalled, so_far.lr_stalled = so_far.stalled + 1, so_far.lr_stalled + 1
        if plateau is not None and so_far.lr_stalled >= plateau.patience:
            self._steps.record["lr"] *= plateau.factor
            so_far.lr_stalled = 0

    @property
    def _value(self) -> float:
        """The last validation loss, or training loss if there is no validation."""
        if not self._log:
            return math.nan
        _, loss, validation, _ = self._log[-1]
        return loss if self._task.validate is None else validation

    @property
    def _epochs_done(self) -> float:
        return self._epoch + (self._steps.nit - self._epoch_nit) / self._task.batches.steps

    def result(self) -> OptimizeResult:
        """Return what was found."""
        task, steps, so_far = self._task, self._steps, self._lowest
        epoch, loss, validation, seconds = np.array(self._log).reshape(-1, 4).T.copy()
        x, fun = steps.x, self._value
        if so_far.best is not None:
            x, fun = so_far.best, -so_far.lowest if task.hyper.maximize else so_far.lowest
        return OptimizeResult(
            x=x.copy(),
            fun=fun,
            x_last=steps.w[core.X].copy(),
            loss=loss,
            validation_loss=None if task.validate is None else validation,
            epoch=epoch,
            seconds=seconds,
            **({} if task.options.patience is None else {"best_epoch": so_far.best_epoch}),
            nit=steps.nit - steps.first_nit,
            nfev=steps.nfev,
            njev=steps.nfev,
            state=self._state(),
            status=self._code,
            success=self._code in status.SUCCESS,
            message=status.MESSAGE[self._code] + self._detail,
        )

    def _state(self) -> dict[str, Any]:
        """Return what another run goes on from."""
        steps, lowest = self._steps, vars(self._lowest)
        return {
            **{name: steps.w[row].copy() for name, row in steps.rows.items()},
            "method": self._task.method,
            "nit": steps.nit,
            "averaged": int(steps.tally["averaged"]),
            "epoch": self._epoch,
            "lr": float(steps.record["lr"]),
            **lowest,
            "rng": generator_state(self._rng),
        }


def _check_saved(saved: Any, method: str, rows: dict[str, int], w: np.ndarray) -> None:
    """Raise if `saved` is no state that a run with these arrays can go on from."""
    if not isinstance(saved, dict) or "nit" not in saved:
        raise TypeError(f"state must be the state of a result, got {saved!r:.80}")
    missing = [name for name in SAVED if name not in saved]
    if missing:
        raise ValueError(f"state must be the state of a result, got none of {missing[0]!r}")
    if saved["method"] != method:
        raise ValueError(f"state must be of method {method!r}, got {saved['method']!r}")
    for name in ("mean", "buffer", "average"):
        if name in saved and name not in rows:
            raise ValueError(
                f"state has {name!r}, for which there is no use: is it of other options?"
            )
    for name in rows:
        array = np.asarray(saved.get(name))
        if array.shape != w[0].shape or array.dtype != w.dtype:
            raise ValueError(
                f"state[{name!r}] must be of shape {w[0].shape} and dtype {w.dtype}, "
                f"got {array.shape} and {array.dtype}: is it of other options?"
            )


_NO_RATES = np.empty(0)
