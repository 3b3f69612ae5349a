"""Side-by-side measurements: ``python -m benchmarks`` runs them all."""

import os

# L-BFGS-B solves systems of 20 unknowns, where several threads only cost it time: at n = 10 on
# two busy cores 2 ms with one thread, 214 ms with two. So all of them get one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
