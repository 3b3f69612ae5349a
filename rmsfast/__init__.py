"""RMSProp, compiled: a method of `scipy.optimize.minimize`, kernels, and classical objectives."""

from rmsfast import objectives, schedules
from rmsfast.minimize import rmsprop
from rmsfast.objective import Objective
from rmsfast.options import RMSPropOptions
from rmsfast.solver import Solver

__all__ = ["Objective", "RMSPropOptions", "Solver", "objectives", "rmsprop", "schedules"]
__version__ = "0.1.0"
