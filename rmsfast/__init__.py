"""RMSProp, compiled: a method of `scipy.optimize.minimize`, an optimizer object, kernels."""

from rmsfast import kernels, objectives, plot, schedules
from rmsfast.compare import Comparison, compare
from rmsfast.config import show_config
from rmsfast.many import ManyResult, PerProblem, minimize_chunks, minimize_many
from rmsfast.minibatch import minimize_minibatch
from rmsfast.minimize import rmsprop
from rmsfast.multistart import MultistartResult, multistart, starts
from rmsfast.objective import Objective
from rmsfast.optimizer import RMSProp
from rmsfast.options import RMSPropOptions
from rmsfast.rivals import adagrad, gradient_descent, momentum
from rmsfast.solver import Solver

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
