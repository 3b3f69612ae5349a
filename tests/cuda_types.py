"""The types of the arguments of kernels, to compile them without a GPU."""

import numba
import numpy as np
from numba import types

from rmsfast.core.cuda import numeric, terms


def array(dtype, dimensions=1):
    """The type of an array in C order."""
    return types.Array(numba.from_dtype(np.dtype(dtype)), dimensions, "C")


NOTES = array(terms.NOTES)


def run_of(T):
    """The type of `numeric.Run`."""
    whole = {"points": 2, "gradients": 2}
    fields = [array(T, whole.get(name, 1)) for name in numeric.Run._fields]
    return types.NamedTuple(fields, numeric.Run)
