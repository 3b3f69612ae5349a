"""RMSProp, compiled: a method of `scipy.optimize.minimize`, an optimizer object, kernels."""

from rmsfast import kernels, objectives, schedules
from rmsfast.minimize import rmsprop
from rmsfast.objective import Objective
from rmsfast.optimizer import RMSProp
from rmsfast.options import RMSPropOptions
from rmsfast.solver import Solver

__all__ = [
    "Objective",
    "RMSProp",
    "RMSPropOptions",
    "Solver",
    "kernels",
    "objectives",
    "rmsprop",
    "schedules",
]
__version__ = "0.1.0"
