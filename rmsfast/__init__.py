"""RMSProp, compiled: a method of `scipy.optimize.minimize`, an optimizer object, kernels."""

import importlib
from typing import TYPE_CHECKING, Any

from rmsfast import schedules
from rmsfast.minimize import rmsprop
from rmsfast.objective import Objective
from rmsfast.options import RMSPropOptions
from rmsfast.solver import Solver

if TYPE_CHECKING:
    from rmsfast import kernels, objectives, plot
    from rmsfast.comparison import Comparison, compare
    from rmsfast.config import show_config
    from rmsfast.many import ManyResult, PerProblem, minimize_chunks, minimize_many
    from rmsfast.many_starts import MultistartResult, multistart, starts
    from rmsfast.minibatch import minimize_minibatch
    from rmsfast.optimizer import RMSProp
    from rmsfast.rivals import adagrad, gradient_descent, momentum
else:  # imported at the first use: two thirds of the time, which a first minimization does without
    _HOMES = {
        "Comparison": "comparison",
        "ManyResult": "many",
        "MultistartResult": "many_starts",
        "PerProblem": "many",
        "RMSProp": "optimizer",
        "adagrad": "rivals",
        "compare": "comparison",
        "gradient_descent": "rivals",
        "kernels": "kernels",
        "minimize_chunks": "many",
        "minimize_many": "many",
        "minimize_minibatch": "minibatch",
        "momentum": "rivals",
        "multistart": "many_starts",
        "objectives": "objectives",
        "plot": "plot",
        "show_config": "config",
        "starts": "many_starts",
    }

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = importlib.import_module(f"{__name__}.{_HOMES[name]}")
        globals()[name] = found = home if name == _HOMES[name] else getattr(home, name)
        return found

    def __dir__() -> list[str]:
        return sorted([*__all__, "__version__", "options"])


__all__ = [
    "Comparison",
    "ManyResult",
    "MultistartResult",
    "Objective",
    "PerProblem",
    "RMSProp",
    "RMSPropOptions",
    "Solver",
    "adagrad",
    "compare",
    "gradient_descent",
    "kernels",
    "minimize_chunks",
    "minimize_many",
    "minimize_minibatch",
    "momentum",
    "multistart",
    "objectives",
    "plot",
    "rmsprop",
    "schedules",
    "show_config",
    "starts",
]
__version__ = "0.1.0"
