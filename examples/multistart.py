"""3. All minima of a function, and their basins
=============================================

Many starts on the six-hump camel function.

``python examples/multistart.py`` prints the minima; with ``--output basins.png`` it also draws
which start descends to which minimum (needs matplotlib).
"""

import argparse
import time

import rmsfast
from rmsfast.objectives import six_hump_camel

BOX = [(-2.0, 2.0), (-1.25, 1.25)]  # around the six minima


def draw(result, path):
    """Draw basins and contours, and write the picture to `path`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(8.0, 5.6), layout="constrained")
    result.plot(ax)
    rmsfast.plot.contours(six_hump_camel, BOX, filled=False, ax=ax)
    ax.set_aspect("equal")
    ax.set_title(
        f"Six-hump camel function: {len(result.starts)} starts,\n"
        f"each in the colour of the minimum that it descends to",
        fontsize=13,
    )
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main(arguments=None):
    """Find the minima, print them, and draw them if asked to."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--starts", type=int, default=8192, help="number of starts")
    parser.add_argument("--output", help="where to write the picture, a PNG")
    options = parser.parse_args(arguments)

    rmsfast.multistart(six_hump_camel, BOX, 1, rng=1)  # compiles
    began = time.perf_counter()
    result = rmsfast.multistart(six_hump_camel, BOX, options.starts, rng=1)
    seconds = time.perf_counter() - began

    print(result)
    print(f"\n{result.nfev} evaluations in {seconds:.2f} s")
    if options.output:
        draw(result, options.output)
        print(f"written: {options.output}")


if __name__ == "__main__":
    main()
