"""One problem on a GPU: what the host does."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from rmsfast.core.cuda import auto, numeric, reduction, terms
from rmsfast.core.cuda.target import SIMULATED, why_not
from rmsfast.core.solver import LOWER, UPPER, G, X, rows
from rmsfast.device import is_on_gpu
from rmsfast.objective import Objective, as_given, check_value
from rmsfast.solver import Solver

cuda = terms.cuda

Step = Callable[[Any, int], None]  # of the learning rates to come, and how many steps were before

LEGACY_STREAM = 1  # what the array interface calls the default stream


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
        given = () if self._terms is None else self._args
        self._there = tuple(_on_device(f"args[{i}]", value) for i, value in enumerate(given))
        lay_out = self._lay_out_auto if self.hyper.lr == "auto" else self._lay_out_numeric
        self._step = lay_out(x0, lower, upper)

    def _common(self, x0: np.ndarray, plans: int) -> dict[str, Any]:
        """Return what the kernels of both kinds of runs work on."""
        self._blocks = reduction.blocks_of(x0.size)
        return {
            "shown": cuda.to_device(x0 if self._terms is None else x0[:1]),
            "states": cuda.to_device(self.record.view(terms.RECORD)),
            "plan": cuda.to_device(np.zeros(plans)),
            "parts": cuda.to_device(np.zeros((reduction.MEASURES, self._blocks))),
        }

    def _lay_out_numeric(self, x0: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Step:
        """Lay out a run with a numeric learning rate, and return its step."""
        hyper, state, n, dtype = self.hyper, self.state, x0.size, x0.dtype
        h = hyper.hyper()
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
            stored=self._terms is None,
        )

        def zeros(used: bool) -> Any:
            return cuda.to_device(np.zeros(n if used else 1, dtype))

        points = cuda.device_array((3, n), dtype)
        points[0].copy_to_device(x0)
        self._points = points
        self._gradients = cuda.device_array((3, n), dtype) if kind.stored else None
        self._run: Any = numeric.Run(
            points=points,
            gradients=self._gradients if kind.stored else cuda.device_array((3, 1), dtype),
            s=cuda.to_device(np.full(n, hyper.initial_scale, dtype)),
            m=zeros(kind.centered),
            b=zeros(kind.momentum),
            lower=cuda.to_device(lower) if kind.bounded else zeros(False),
            upper=cuda.to_device(upper) if kind.bounded else zeros(False),
            reference=zeros(kind.constant),
            **self._common(x0, numeric.PLANS),
        )
        return self._fused_step(kind) if kind.fused else self._step_by_step(kind)

    def _lay_out_auto(self, x0: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Step:
        """Lay out a run with ``lr="auto"``, and return its round of kernels."""
        state, dtype = self.state, x0.dtype
        w = cuda.device_array((rows(int(state["maxcor"])), x0.size), dtype)
        w[X].copy_to_device(x0)
        kind = auto.Kind(dtype.type, bool(state["bounded"]), bool(state["xtol"] > 0))
        if kind.bounded:
            w[LOWER].copy_to_device(lower)
            w[UPPER].copy_to_device(upper)
        self._points, self._gradients = w[X : X + 3], w[G : G + 3]
        self._run = auto.Run(w=w, **self._common(x0, auto.PLANS))
        return self._round(kind)

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
        host, states = self.record.view(terms.RECORD), self._run.states
        states.copy_to_device(host)
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
        states.copy_to_host(host)
        return count

    def _all(self, kernel: Any) -> Any:
        """Return the launch of a kernel over all variables."""
        return _configured(kernel, self._blocks)

    def _one(self, kernel: Any) -> Any:
        """Return the launch of a kernel of one block."""
        return _configured(kernel, 1)

    def _fused_step(self, kind: numeric.Kind) -> Step:
        """Return the step of an objective of terms that needs one pass."""
        objective: Any = self._terms
        sweep = self._all(numeric.sweep_kernel(objective.term, objective.grad, kind))
        settle = self._one(numeric.settle_kernel(kind, True, True))
        run, args = self._run, self._there

        def step(rates: Any, begun: int) -> None:
            sweep(run, args)
            settle(run, rates, begun)

        return step

    def _step_by_step(self, kind: numeric.Kind) -> Step:
        """Return the step that takes in the value before it updates."""
        run, args = self._run, self._there
        grad = None if self._terms is None else self._terms.grad
        evaluate = self._caller() if self._terms is None else self._all(
            numeric.value_kernel(self._terms.term))  # fmt: skip
        choose = self._one(numeric.settle_kernel(kind, True, False))
        norms = [self._all(numeric.norm_kernel(grad, kind, squares)) for squares in (False, True)]
        scales = [self._one(numeric.scale_kernel(squares)) for squares in (False, True)]
        sweep = self._all(numeric.sweep_kernel(None, grad, kind))
        judge = self._one(numeric.settle_kernel(kind, False, True))

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

    def _round(self, kind: auto.Kind) -> Step:
        """Return the round of kernels of ``lr="auto"``."""
        run, args, (T, bounded, _) = self._run, self._there, kind
        stored, maxcor = self._terms is None, int(self.state["maxcor"])
        call = self._caller() if stored else None
        term, grad = (None, None) if self._terms is None else (self._terms.term, self._terms.grad)
        measure = self._all(auto.measure_kernel(term, grad, kind))
        judge = self._one(auto.judge_kernel(kind, stored))
        learn = [
            self._all(auto.average_kernel(T)),
            self._one(auto.settle_average_kernel()),
            self._all(auto.metric_kernel(T)),
            self._one(auto.settle_metric_kernel()),
        ]
        first_loop = [
            self._all(auto.first_loop_kernel(T, bounded)),
            self._one(auto.settle_first_loop_kernel(T, bounded)),
        ]
        second_loop = [
            self._all(auto.second_loop_kernel(T, bounded)),
            self._one(auto.settle_second_loop_kernel()),
        ]
        move = [
            self._all(auto.move_kernel(T, bounded, stored)),
            self._one(auto.settle_move_kernel()),
        ]

        def step(rates: Any, begun: int) -> None:
            if call is not None:
                call(run, args)
            measure(run, args)
            judge(run)
            for kernel in learn:
                kernel(run)
            if maxcor > 0:
                for k in range(maxcor + 1):
                    for kernel in first_loop:
                        kernel(run, k)
                for k in range(maxcor - 1, -1, -1):
                    for kernel in second_loop:
                        kernel(run, k)
            for kernel in move:
                kernel(run)

        return step

    def _caller(self) -> Callable[[Any, Any], None]:
        """Return the call of the user's function of device arrays."""
        keep = self._all(terms.keep_kernel())

        def call(run: Any, args: Any) -> None:
            pair = self._fun(run.shown, *self._args)
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise TypeError(
                    f"with jac=True fun must return (f, gradient), got {type(pair).__name__}"
                )
            f, g = pair
            value = (
                _read("fun", f, 1) if is_on_gpu(f) else cuda.to_device(np.array([check_value(f)]))
            )
            gradient = _read("the gradient", g, run.shown.size)
            if gradient.dtype != self.dtype:
                raise TypeError(f"the gradient must be {self.dtype}, as x, got {gradient.dtype}")
            keep(run.states, run.plan, self._gradients, value, gradient)

        return call

    def point(self, name: str) -> np.ndarray:
        """Return the "current", "best" or "trial" point, by `name`, in the host's memory."""
        host: np.ndarray = self._points[int(self.state[name])].copy_to_host()
        return host

    def gradient(self, name: str) -> np.ndarray:
        """Return the gradient at the "current" or "best" point, by `name`, likewise."""
        row = int(self.state[name])
        if self._gradients is not None:
            there = self._gradients[row]
        else:
            objective: Any = self._terms
            there = cuda.device_array(self._points.shape[1], self.dtype)
            kernel = self._all(terms.gradient_kernel(objective.grad))
            kernel(self._points[row], there, self._there)
        host: np.ndarray = there.copy_to_host()
        return host


def _configured(kernel: Any, blocks: int) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Grid size")  # few blocks are no mistake
        return kernel[blocks, reduction.THREADS]


class _One:
    """An array of no dimension, as CuPy and PyTorch return sums, with one dimension."""

    def __init__(self, array: Any) -> None:
        self.owner = array
        self.__cuda_array_interface__ = {
            **array.__cuda_array_interface__,
            "shape": (1,),
            "strides": None,
        }


def _read(name: str, value: Any, size: int) -> Any:
    """Return an array of the user on the GPU as one of Numba, of shape ``(size,)``."""
    value = value.detach() if hasattr(value, "detach") else value  # a tensor with a gradient
    if not is_on_gpu(value):
        raise TypeError(f"{name} must be an array on the GPU, got {type(value).__name__}")
    if not SIMULATED:
        interface = value.__cuda_array_interface__
        stream = interface.get("stream")
        value = value if interface["shape"] else _One(value)
        value = cuda.as_cuda_array(value, sync=stream not in (None, LEGACY_STREAM))
    if value.size != size or max(value.shape, default=1) != size:
        raise ValueError(f"{name} must have the shape ({size},), got {value.shape}")
    return value.reshape(size)


def _on_device(name: str, value: Any) -> Any:
    """Return an argument of the terms as kernels take it."""
    if isinstance(value, tuple):
        return tuple(_on_device(f"{name}[{i}]", part) for i, part in enumerate(value))
    if is_on_gpu(value):
        return value if SIMULATED else cuda.as_cuda_array(value)
    if isinstance(value, (bool, int, float, complex, np.number, np.bool_)):
        return value
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return cuda.to_device(np.ascontiguousarray(value))
    raise TypeError(f"{name} must be a number, an array or a tuple of such, got {type(value)}")
