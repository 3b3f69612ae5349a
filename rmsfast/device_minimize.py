"""One problem on a GPU: what the host does."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from rmsfast.core.cuda import terms as kernels
from rmsfast.core.cuda.target import why_not
from rmsfast.device import as_numba, current_device, is_on_gpu, locate
from rmsfast.objective import Terms, as_given, check_value
from rmsfast.solver import Solver

cuda = kernels.cuda


class DeviceSolver(Solver):
    """A solver whose vectors are on a GPU, with the objective that it minimizes there.

    Parameters
    ----------
    rule : str
        One of `rmsfast.options.RULES`.
    fun : Objective or callable
        A sum of terms, or, with ``jac=True``, a function of device arrays.
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
    NotImplementedError
        If `lr` is "auto".
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
        self._terms = fun if isinstance(fun, Terms) else None
        if self._terms is None and not (callable(fun) and jac is not None and jac):
            raise TypeError(
                "fun must be an rmsfast.Objective.from_terms with device='cuda', or with jac=True "
                f"a function of device arrays that returns (f, gradient), got {fun!r}"
            )
        self._fun, self._args = fun, args
        self._read(x0, bounds, options, rule)

    def _lay_out(self, x0: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        """Copy what the run needs to the GPU."""
        hyper, state, n, dtype = self.hyper, self.state, x0.size, x0.dtype
        if hyper.lr == "auto":
            raise NotImplementedError("lr='auto' does not run on a GPU yet: give a number or a "
                                      "schedule, or device='cpu'")  # fmt: skip
        h = hyper.hyper()
        self.kind = kind = kernels.Kind(
            T=dtype.type,
            flags=tuple(map(bool, h[kernels.NUMBERS :])),
            momentum=h.momentum != 0,
            weight_decay=h.weight_decay != 0,
            clip_norm=hyper.clip_norm is not None,
            plateau=bool(state["plateau_patience"] > 0),
            bounded=bool(state["bounded"]),
            short=bool(state["xtol"] > 0),
            constant=bool(state["constant"]),
            stored=self._terms is None,
        )

        def zeros(used: bool) -> Any:
            return cuda.to_device(np.zeros(n if used else 1, dtype))

        self._blocks = kernels.blocks_of(n)
        points = cuda.device_array((3, n), dtype)
        points[0].copy_to_device(x0)
        self.run = kernels.Run(
            points=points,
            gradients=cuda.device_array((3, n if kind.stored else 1), dtype),
            s=cuda.to_device(np.full(n, hyper.initial_scale, dtype)),
            m=zeros(kind.centered),
            b=zeros(kind.momentum),
            lower=cuda.to_device(lower) if kind.bounded else zeros(False),
            upper=cuda.to_device(upper) if kind.bounded else zeros(False),
            reference=zeros(kind.constant),
            shown=cuda.to_device(x0) if kind.stored else zeros(False),
            states=cuda.to_device(self.record.view(kernels.RECORD)),
            plan=cuda.to_device(np.zeros(kernels.PLANS)),
            parts=cuda.to_device(np.zeros((kernels.MEASURES, self._blocks))),
        )
        given = () if self._terms is None else self._args
        self._there = tuple(_on_device(f"args[{i}]", value) for i, value in enumerate(given))
        self._keep = self._all(kernels.keep_kernel())
        self._step = self._fused_step() if kind.fused else self._step_by_step()

    def launch(self, count: int) -> int:
        """Take up to `count` steps, wait for them, and return how many were launched."""
        state, begun = self.state, int(self.state["evaluations"])
        rates = self.rates(count)
        left = min(int(state["max_evaluations"]), int(state["maxiter"]) + 1) - begun
        count = rates.size or min(count, left)
        if rates.size > 0:
            state["lr"] = rates[0]
        host = self.record.view(kernels.RECORD)
        self.run.states.copy_to_device(host)
        # the first is in the record; one more than none, which no step reaches, is never read
        there = cuda.to_device(rates if rates.size > 0 else np.zeros(1))
        try:
            for _ in range(count):
                self._step(there, begun)
        except NumbaError as error:
            if self._terms is None:
                raise
            raise TypeError(
                "term and grad cannot be compiled for CUDA, where they may neither allocate arrays "
                "nor call what Numba has for the CPU alone: the error above says where"
            ) from error
        self.run.states.copy_to_host(host)
        return count

    def _all(self, kernel: Any) -> Any:
        """Return the launch of a kernel over all variables."""
        return _configured(kernel, self._blocks)

    def _one(self, kernel: Any) -> Any:
        """Return the launch of a kernel of one block."""
        return _configured(kernel, 1)

    def _fused_step(self) -> Callable[[Any, int], None]:
        """Return the step of an objective of terms that needs one pass."""
        objective: Any = self._terms
        sweep = self._all(kernels.sweep_kernel(objective.term, objective.grad, self.kind))
        settle = self._one(kernels.settle_kernel(self.kind, True, True))
        run, args = self.run, self._there

        def step(rates: Any, begun: int) -> None:
            sweep(run, args)
            settle(run, rates, begun)

        return step

    def _step_by_step(self) -> Callable[[Any, int], None]:
        """Return the step that takes in the value before it updates."""
        kind, run, args = self.kind, self.run, self._there
        grad = None if self._terms is None else self._terms.grad
        evaluate = self._call if self._terms is None else self._all(
            kernels.value_kernel(self._terms.term))  # fmt: skip
        choose = self._one(kernels.settle_kernel(kind, True, False))
        norms = [self._all(kernels.norm_kernel(grad, kind, squares)) for squares in (False, True)]
        scales = [self._one(kernels.scale_kernel(squares)) for squares in (False, True)]
        sweep = self._all(kernels.sweep_kernel(None, grad, kind))
        judge = self._one(kernels.settle_kernel(kind, False, True))

        def step(rates: Any, begun: int) -> None:
            evaluate(run, args)
            choose(run, rates, begun)
            if kind.clip_norm:
                for norm, scale in zip(norms, scales, strict=True):
                    norm(run, args)
                    scale(run)
            sweep(run, args)
            judge(run, rates, begun)

        return step

    def _call(self, run: Any, args: Any) -> None:
        """Call the user's function of device arrays."""
        pair = self._fun(run.shown, *self._args)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(
                f"with jac=True fun must return (f, gradient), got {type(pair).__name__}"
            )
        f, g = pair
        value = _read("fun", f, 1) if is_on_gpu(f) else cuda.to_device(np.array([check_value(f)]))
        gradient = _read("the gradient", g, run.shown.size)
        if gradient.dtype != self.dtype:
            raise TypeError(f"the gradient must be {self.dtype}, as x, got {gradient.dtype}")
        self._keep(run, value, gradient)

    def point(self, name: str) -> np.ndarray:
        """Return the "current", "best" or "trial" point, by `name`, in the host's memory."""
        host: np.ndarray = self.run.points[int(self.state[name])].copy_to_host()
        return host

    def gradient(self, name: str) -> np.ndarray:
        """Return the gradient at the "current" or "best" point, by `name`, likewise."""
        row = int(self.state[name])
        if self._terms is None:
            there = self.run.gradients[row]
        else:
            there = cuda.device_array(self.run.s.shape, self.dtype)
            kernel = self._all(kernels.gradient_kernel(self._terms.grad))
            kernel(self.run.points[row], there, self._there)
        host: np.ndarray = there.copy_to_host()
        return host


def _configured(kernel: Any, blocks: int) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Grid size")  # few blocks are no mistake
        return kernel[blocks, kernels.THREADS]


def _read(name: str, value: Any, size: int) -> Any:
    """Return an array of the user on the GPU as one of Numba, of shape ``(size,)``."""
    leaf = locate(name, value, 0, current_device())
    if leaf.size != size or max(leaf.shape, default=1) != size:
        raise ValueError(f"{name} must have the shape ({size},), got {leaf.shape}")
    step = sum(leaf.strides)  # of the one axis that is longer than one
    return as_numba(replace(leaf, shape=(size,), strides=(step,)))


def _on_device(name: str, value: Any) -> Any:
    """Return an argument of the terms as kernels take it."""
    if isinstance(value, tuple):
        return tuple(_on_device(f"{name}[{i}]", part) for i, part in enumerate(value))
    if is_on_gpu(value):
        return as_numba(locate(name, value, 0, current_device()))
    if isinstance(value, (bool, int, float, complex, np.number, np.bool_)):
        return value
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return cuda.to_device(np.ascontiguousarray(value))
    raise TypeError(f"{name} must be a number, an array or a tuple of such, got {type(value)}")
