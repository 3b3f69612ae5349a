"""What kernels are compiled for without a GPU: compute capabilities, and types of arguments."""

import numba
import numpy as np
import pytest
from numba import types

from rmsfast.core.cuda import numeric, terms

CAPABILITIES = [(7, 5), (8, 0), (9, 0)]
NEWEST = (10, 0)  # NVVM compiles for it by another way
each_capability = pytest.mark.parametrize("cc", CAPABILITIES, ids=lambda cc: f"{cc[0]}.{cc[1]}")


def array(dtype, dimensions=1):
    """The type of an array in C order."""
    return types.Array(numba.from_dtype(np.dtype(dtype)), dimensions, "C")


NOTES = array(terms.NOTES)


def run_of(T):
    """The type of `numeric.Run`."""
    whole = {"points": 2, "gradients": 2}
    fields = [array(T, whole.get(name, 1)) for name in numeric.Run._fields]
    return types.NamedTuple(fields, numeric.Run)
