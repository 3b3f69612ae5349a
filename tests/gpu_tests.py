"""Tests of tests/gpu, run without a GPU in a process of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def assert_passing(name, chosen, *options, skipped=0, **environment):
    """Run the tests of a file that `chosen`, an expression of pytest's ``-k``, names.

    Parameters
    ----------
    name : str
        Of the file, without its ending.
    chosen : str
        "" for all.
    *options : str
        Of pytest.
    skipped : int
        How many tests are to be skipped.
    **environment : str
        Switches that are read at import.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:xdist", *options]
    process = subprocess.run(
        [*command, "-k", chosen, str(TESTS / "gpu" / f"{name}.py")],
        env={**os.environ, **environment},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    last = process.stdout.strip().splitlines()[-1]
    some = f", {skipped} skipped" if skipped else ""
    rest = r", \d+ deselected" if chosen else ""
    assert re.fullmatch(rf"\d+ passed{some}{rest} in .*", last), process.stdout
