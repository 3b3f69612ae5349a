"""What the benchmarks make of what they measure; those of a GPU are in test_cuda_programs.py."""

import math

import pytest

from benchmarks import minibatch, report, startup
from benchmarks.timing import Others


def test_an_import_beyond_another():
    """Median and quartiles of the pairs, not of each."""
    assert startup.beyond([1.0, 2.0, 9.0], [0.5, 1.0, 7.0]) == "1000 ms (750 to 1500)"


@pytest.mark.parametrize("theirs", [1.5, -0.1, math.nan])
def test_cores_that_others_take(monkeypatch, theirs):
    reads = iter([(10.0, 100.0), (12.0, 100.0 + 2.0 * theirs)])
    monkeypatch.setattr(Others, "_read", staticmethod(lambda: next(reads)))
    others = Others()
    if math.isnan(theirs):
        assert math.isnan(others.cores())
    else:
        assert others.cores() == pytest.approx(max(0.0, theirs))


def test_others_are_read_from_the_system():
    cores = Others().cores()
    assert math.isnan(cores) or cores >= 0.0


def test_the_table_of_mini_batches(monkeypatch):
    monkeypatch.setattr(minibatch, "SIZES", (20, 30))
    monkeypatch.setattr(minibatch, "SCALED_ROWS", 60)
    text, _ = minibatch.sizes_table()
    head, _, *rows = ([c.strip() for c in row.split("|")[1:-1]] for row in text.splitlines())
    assert [row[0] for row in rows] == ["20", "30"]
    assert {len(row) for row in (head, *rows)} == {7}


@pytest.mark.parametrize(
    ("error", "text"),
    [(ValueError("a | b\nc"), "ValueError: a / b"), (AssertionError(), "AssertionError: ")],
    ids=["two lines", "no text"],
)
def test_the_reason_in_a_cell(error, text):
    assert report.why(error) == text
