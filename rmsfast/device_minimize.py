"""One problem on a GPU: what the host does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from rmsfast.core.cuda import terms
from rmsfast.core.cuda.target import why_not
from rmsfast.device import as_numba, current_device, is_on_gpu, locate, to_device
from rmsfast.device_steps import Given, auto_steps, numeric_steps, over_all, write_record
from rmsfast.objective import Objective, as_given, check_value
from rmsfast.solver import Solver

cuda = terms.cuda


class DeviceSolver(Solver):
    """A solver whose vectors are on a GPU, with the objective that it minimizes there.

    Parameters
    ----------
    rule : str
        One of `rmsfast.options.RULES`.
    fun : Objective or callable
        One that has `terms`, or, with ``jac=True``, a function of device arrays.
    x0 : array_like, shape (n,)
        The start.
    args : tuple
        Further arguments of `fun`; for a sum of terms arrays are copied to the GPU.
    jac : bool or None
        True if `fun` is a function of device arrays.
    bounds : Bounds, sequence of pairs, or ndarray of shape (n, 2)
        Bounds on the variables.
    options : dict
        As for `Solver`.

    Raises
    ------
    RuntimeError
        If there is no GPU.
    TypeError
        If `fun` is neither, or an argument is of the wrong type.
    ValueError
        As `Solver` does.
    """

    def __init__(
        self,
        rule: str,
        fun: Any,
        x0: Any,
        args: tuple[Any, ...],
        jac: Any,
        bounds: Any,
        options: dict[str, Any],
    ) -> None:
        if reason := why_not():
            raise RuntimeError(f"device='cuda' needs a GPU here: {reason}")
        fun, jac = as_given(fun, jac)
        if callable(jac):
            raise TypeError("jac must be None or True with device='cuda'")
        whole = isinstance(fun, Objective)
        self._terms = fun.terms if whole else None
        if self._terms is None and (whole or not (callable(fun) and jac)):
            raise TypeError(
                "fun must be an rmsfast.Objective.from_terms with device='cuda', or with jac=True "
                f"a function of device arrays that returns (f, gradient), got {fun!r}"
                f"{', which is no sum of terms' if whole else ''}"
            )
        self._fun, self._args = fun, args
        self._read(x0, bounds, options, rule)

    def _lay_out(self, x0: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        """Copy what the run needs to the GPU."""
        vectors = x0, lower, upper
        if self._terms is None:
            given = Given(None, None, (), self._call)
        else:
            args = to_device("args", self._args)
            given = Given(self._terms.term, self._terms.grad, args, None)
        self._given = given
        if self.hyper.lr == "auto":
            self._steps = auto_steps(self.record, given, vectors)
        else:
            self._steps = numeric_steps(self.hyper, self.record, given, vectors)
        self._notes = self._steps.notes.copy_to_host()

    def launch(self, count: int) -> int:
        """Take up to `count` steps, wait for them, and return how many were launched."""
        state, begun = self.state, int(self.state["evaluations"])
        rates = self.rates(count)
        left = int(state["max_evaluations"])
        if self.hyper.lr != "auto":  # each step is an iteration
            left = min(left, int(state["maxiter"]) + 1)
        count = rates.size or min(count, left - begun)
        if rates.size > 0:
            state["lr"] = rates[0]
        notes, host = self._steps.notes, self._notes
        write_record(host, self.record)
        notes.copy_to_device(host)
        # the first is in the record; one more than none, which no step reaches, is never read
        there = cuda.to_device(rates if rates.size > 0 else np.zeros(1))
        try:
            for _ in range(count):
                self._steps.take(there, begun)
        except NumbaError as error:
            if self._terms is None:
                raise
            raise TypeError(
                "term and grad cannot be compiled for CUDA, where they may neither allocate arrays "
                "nor call what Numba has for the CPU alone: the error above says where"
            ) from error
        notes.copy_to_host(host)
        self.record.view(np.uint8)[:] = host.view(np.uint8)[: self.record.nbytes]
        return count

    def _call(self, x: Any) -> tuple[Any, Any]:
        """Call the user's function of device arrays."""
        pair = self._fun(x, *self._args)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(
                f"with jac=True fun must return (f, gradient), got {type(pair).__name__}"
            )
        f, g = pair
        value = _read("fun", f, 1) if is_on_gpu(f) else cuda.to_device(np.array([check_value(f)]))
        gradient = _read("the gradient", g, x.size)
        if gradient.dtype != self.dtype:
            raise TypeError(f"the gradient must be {self.dtype}, as x, got {gradient.dtype}")
        return value, gradient

    def point(self, name: str) -> np.ndarray:
        """Return the "current", "best" or "trial" point, by `name`, in the host's memory."""
        host: np.ndarray = self._steps.points[int(self.state[name])].copy_to_host()
        return host

    def gradient(self, name: str) -> np.ndarray:
        """Return the gradient at the "current" or "best" point, by `name`, likewise."""
        row = int(self.state[name])
        points, gradients = self._steps.points, self._steps.gradients
        if gradients is not None:
            there = gradients[row]
        else:
            there = cuda.device_array(points.shape[1], self.dtype)
            kernel = over_all(terms.gradient_kernel(self._given.grad), there.size)
            kernel(points[row], there, self._given.args)
        host: np.ndarray = there.copy_to_host()
        return host


def _read(name: str, value: Any, size: int) -> Any:
    """Return an array of the user on the GPU as one of Numba, of shape ``(size,)``."""
    leaf = locate(name, value, 0, current_device())
    if leaf.size != size or max(leaf.shape, default=1) != size:
        raise ValueError(f"{name} must have the shape ({size},), got {leaf.shape}")
    step = sum(leaf.strides)  # of the one axis that is longer than one
    return as_numba(replace(leaf, shape=(size,), strides=(step,)))
