"""Tests of tests/gpu in Numba's simulator, which runs kernels as Python, without types."""

import pytest
from gpu_tests import assert_passing

# Files of tests/gpu -> which of their tests, so that each kernel runs; and how many of these the
# simulator cannot run. It takes seconds per step: compiled code runs more (test_cuda_emulated).
LARGE = "steps and (bounds or everything) or auto and bounds"
LARGE += " or functions_of_device_arrays and (plain or clip_norm) or ends and not 7 and not wrong"
CHOSEN = {
    "test_update": ("not everything or float64", 0),
    "test_many_problems": ("", 2),
    "test_large_problems": (LARGE, 0),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_the_tests_of_the_gpu_pass_in_the_simulator(name):
    """In a process of its own: the switch is read when Numba is imported."""
    chosen, skipped = CHOSEN[name]
    assert_passing(name, chosen, skipped=skipped, NUMBA_ENABLE_CUDASIM="1")
