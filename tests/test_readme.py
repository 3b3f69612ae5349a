"""The README and the examples do what they say."""

import configparser
import dataclasses
import inspect
import pathlib
import re
import runpy

import numpy as np
import pytest

import rmsfast

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_snippets_run_one_after_the_other():
    assert len(SNIPPETS) >= 2
    names = {}
    for snippet in SNIPPETS:
        exec(compile(snippet, "README.md", "exec"), names)
    np.testing.assert_allclose(names["result"].x, [1.0, 1.0], atol=1e-5)
    np.testing.assert_allclose(names["fit"].x, [1.0, -2.0, 0.5], atol=1e-5)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(link):
    assert link.startswith("https://") or (ROOT / link).exists()


@pytest.mark.parametrize("name", ["quickstart", "tests"])
def test_commands_are_one_line_each(name):
    command = re.search(rf"<!-- {name} -->\n```\n(.+)\n```", README)
    assert command, "the continuous integration reads the command from here"


def test_extras_for_users_are_those_of_the_package():
    package = configparser.ConfigParser()
    package.read(ROOT / "setup.cfg", encoding="utf-8")
    table = README.split("| extra | for |")[1].split("\n\n")[0]
    listed = re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.split("\n")[2:]))
    developers = ["test", "check", "docs", "bench"]
    assert sorted(listed + developers) == sorted(package["options.extras_require"])


def test_options_of_mini_batches_are_listed():
    section = README.split("### Mini-batches")[1].split("###")[0]
    given = {*inspect.signature(rmsfast.minimize_minibatch).parameters} - {"options"}
    own = {field.name for field in dataclasses.fields(rmsfast.options.MinibatchOptions)}
    shared = {"fun", "x0", "args", "jac"}  # by all that minimizes
    missing = {name for name in given | own if not re.search(rf"\b{name}\b", section)}
    assert missing <= shared


def test_quickstart(capsys):
    runpy.run_path(str(ROOT / "examples" / "quickstart.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.count("Optimization terminated successfully") == 2
    assert "relative distance" in printed
    distances = re.search(r"relative distance +(\S+) +(\S+)", printed)
    assert all(float(distance) < 1e-9 for distance in distances.groups())
    last = re.search(r"last iterate +\[(.*?)\]", printed)
    np.testing.assert_allclose(np.fromstring(last[1], sep=" "), [1.0, -2.0, 3.0], atol=0.1)


def test_book_numbers(capsys):
    runpy.run_path(str(ROOT / "examples" / "book_numbers.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "x1: -0.010599, x2: 0.000000" in printed
    for line in (
        "epoch   0: [4.68377233 3.68377236]",
        "epoch  20: [2.3688824  1.47561697]",
        "epoch  40: [0.95903672 0.35004133]",
        "epoch  60: [0.13761293 0.00745214]",
        "epoch  80: [3.91649374e-04 3.12725069e-09]",
        "epoch 100: [-3.07701828e-17  2.18862195e-20]",
    ):
        assert line in printed


def test_own_loops_reach_the_noise(capsys):
    runpy.run_path(str(ROOT / "examples" / "own_loop.py"), run_name="__main__")
    errors = re.findall(r"^(?:all|in|compiled).*: error (\d\.\d+),", capsys.readouterr().out, re.M)
    assert len(errors) == 3
    assert all(0.1 < float(error) < 0.11 for error in errors)
