"""The documentation shows every example and every name, and the code on its pages runs."""

import pathlib
import re
import runpy
import textwrap

import numpy as np
import pytest

import rmsfast
from rmsfast.objectives import rastrigin, rosenbrock

ROOT = pathlib.Path(__file__).parent.parent
DOCS, FOLDER = ROOT / "docs", ROOT / "examples"
EXAMPLES = runpy.run_path(str(DOCS / "gallery.py"))["EXAMPLES"]


def code_of(page, directive):
    """The code below each `directive` of a page, as it stands there."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(rf"^\.\. {directive}\n((?:\n|   .*\n)+)", text, flags=re.MULTILINE)
    without_options = (re.sub(r"^( +:.*\n)+", "", block) for block in blocks)
    return [textwrap.dedent(block) for block in without_options]


def test_first_page(pyplot, capsys):
    (code,) = code_of("index.rst", "plot::")
    assert len(code.strip().splitlines()) <= 12
    names = {}
    exec(compile(code, "index.rst", "exec"), names)
    # Dixon and Szego (1978): -1.0316 at (0.0898, -0.7127) and at its mirror image; six minima
    np.testing.assert_allclose(np.abs(names["result"].x), [0.0898, 0.7127], atol=5e-5)
    np.testing.assert_allclose(names["result"].fun, -1.0316, atol=5e-5)
    assert len(names["camels"].minima) == 6
    assert "6 minima from 8192 starts" in capsys.readouterr().out
    assert pyplot.gcf().axes[0].collections


def test_recipes_run_from_top_to_bottom():
    blocks = code_of("recipes.rst", "code-block:: python")
    assert len(blocks) >= 6
    names = {}
    for block in blocks:
        exec(compile(block, "recipes.rst", "exec"), names)
    for result in (names["hopped"], names["polished"]):
        np.testing.assert_allclose(result.x, rastrigin.minimum.x, atol=1e-6)
    np.testing.assert_allclose(names["solver"].result().x, rosenbrock.minimum.x, atol=1e-6)
    np.testing.assert_allclose(names["optimizer"].average, [1.0, -2.0, 3.0], atol=0.1)


def test_gallery_holds_every_example_in_the_order_of_their_numbers():
    assert {*EXAMPLES} == {path.name for path in FOLDER.glob("*.py")}
    for number, name in enumerate(EXAMPLES, 1):
        assert (FOLDER / name).read_text(encoding="utf-8").startswith(f'"""{number}. ')


@pytest.mark.parametrize("name", rmsfast.__all__)
def test_reference_holds_every_name(name):
    reference = (DOCS / "api.rst").read_text(encoding="utf-8").split()
    assert name in reference or f"api/{name}" in reference
