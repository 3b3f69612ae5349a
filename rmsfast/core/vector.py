"""Sums over the rows of a work array, in an order that does not depend on the machine.

Eight partial sums let the processor work on eight terms at once; the compiler
may not reorder a plain sum, and one term after another takes four cycles each.
They are float64 for every dtype of the rows.
"""

import numpy as np

from rmsfast.core.jit import jit


@jit
def dot(w: np.ndarray, a: int, b: int) -> float:
    """Scalar product of rows `a` and `b` of `w`."""
    n = w.shape[1]
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    whole = n - n % 8
    for i in range(0, whole, 8):
        s0 += w[a, i] * w[b, i]
        s1 += w[a, i + 1] * w[b, i + 1]
        s2 += w[a, i + 2] * w[b, i + 2]
        s3 += w[a, i + 3] * w[b, i + 3]
        s4 += w[a, i + 4] * w[b, i + 4]
        s5 += w[a, i + 5] * w[b, i + 5]
        s6 += w[a, i + 6] * w[b, i + 6]
        s7 += w[a, i + 7] * w[b, i + 7]
    total = ((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7))
    for i in range(whole, n):
        total += w[a, i] * w[b, i]
    return total
