"""The rooms of the package: who imports whom, where defaults stand, and that all is documented."""

import ast
import builtins
import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.optimize import OptimizeResult

import rmsfast
from rmsfast import options
from rmsfast.objective import Objective
from rmsfast.objectives import Classical

ROOT = Path(rmsfast.__file__).parent
NAMES = ["rmsfast", *(m.name for m in pkgutil.walk_packages([str(ROOT)], "rmsfast."))]
CORE = [name for name in NAMES if name.startswith("rmsfast.core.")]
each_module = pytest.mark.parametrize("name", NAMES)
each_core = pytest.mark.parametrize("name", CORE)


def path_of(name):
    path = ROOT.parent.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def tree_of(name):
    return ast.parse(path_of(name).read_text())


def imports(name):
    """All modules that the source of a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in {*NAMES, "numba.cuda"} else node.module)
    return found


def ours(name):
    return {module for module in imports(name) if module.split(".")[0] == "rmsfast"}


# Imports -----------------------------------------------------------------------------------------

# The rank of each module of the core: it imports from lower ranks only.
RANKS = {"status": 0, "digest": 0, "jit": 0.5, "rule": 1, "solver": 2, "auto": 2.5, "cpu": 2}
RANKS |= {"difference": 2, "shuffle": 2, "drivers": 3, "terms": 4, "queue": 4, "minibatch": 4}
RANKS |= {"lanes": 5}
RANKS |= {"cuda": 0, "cuda.target": 0, "cuda.reduction": 1, "cuda.terms": 3, "cuda.update": 3}
RANKS |= {"cuda.numeric": 4, "cuda.auto": 4, "cuda.many": 5}
# The rank of each room: numbers, intent, conversations. Each sees those below it, and the
# modules listed in SEES of its own rank.
ROOMS = {"core": 0, "schedules": 1, "options": 1, "objective": 1}
ROOMS |= {"device": 1, "device_many": 1, "device_passes": 1, "device_steps": 1}
ROOMS |= {"batches": 1, "passes": 1, "progress": 1, "threads": 1, "tree": 1, "warn": 1}
SEES = {
    "minimize": {"device_minimize", "solver"},
    "device_minimize": {"solver"},
    "objective": {"threads"},
    "objectives": {"objective"},
    "checkpoint": {"solver"},
    "many": {"solver", "minimize"},
    "rivals": {"minimize"},
    "comparison": {"solver", "minimize", "rivals", "plot"},
    "many_starts": {"many", "plot", "solver"},
    "minibatch": {"solver", "minimize", "training"},
    "training": {"solver", "minimize"},
    "passes": {"options", "threads"},
    "plot": {"objectives", "solver"},
    "device_passes": {"device", "options", "passes"},
    "device_many": {"device"},
    "device_steps": {"options"},
    "schedules": {"options"},
}


# May import matplotlib, within functions
DRAW = {"rmsfast.many_starts", "rmsfast.plot.curves", "rmsfast.plot.look", "rmsfast.plot.plane"}


def room(module):
    return module.split(".")[1]


@each_core
def test_core_imports_downwards_and_nothing_else_of_rmsfast(name):
    for module in ours(name):
        assert module.startswith("rmsfast.core."), f"{name} imports {module}"
        own, other = (RANKS[each.split(".", 2)[2]] for each in (name, module))
        assert other < own, f"{name} imports {module}"


@each_core
def test_core_knows_numbers_only(name):
    outside = {module.split(".")[0] for module in imports(name)} - {"rmsfast"}
    own = {"jit": {"hashlib", "os", "pathlib", "types", "warnings"}, "digest": {"hashlib", "types"}}
    own["lanes"] = {"re"}  # reads what LLVM made
    own["cuda.target"] = {"importlib", "os", "types"}
    own["cuda.update"] = {"ctypes"}  # the simulator's pointers
    common = {"numba", "numpy", "math", "typing", "collections", "functools"}
    assert outside <= common | own.get(name.split(".", 2)[2], set())


@each_core
def test_core_raises_nothing_and_prints_nothing(name):
    for node in ast.walk(tree_of(name)):
        where = f"{name}:{getattr(node, 'lineno', '')}"
        assert not isinstance(node, (ast.Raise, ast.Assert)), where
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "open", "input"}, where


@pytest.mark.parametrize("name", [n for n in NAMES if n not in CORE and n.count(".") >= 1])
def test_conversations_import_downwards(name):
    own = room(name)
    for module in ours(name):
        if module == "rmsfast":  # the objectives look themselves up by name
            assert own == "objectives"
            continue
        other = room(module)
        lower = ROOMS.get(other, 2) < ROOMS.get(own, 2)
        assert other == own or lower or other in SEES.get(own, ()), f"{name} imports {module}"


@each_module
def test_nothing_imports_cuda_or_a_framework(name):  # core.cuda.target imports it when asked
    foreign = {"torch", "jax", "optax", "tensorflow", "sklearn", "pandas"}
    for module in imports(name):
        assert module.split(".")[0] not in foreign
        assert not module.startswith(("numba.cuda", "numba_cuda"))
        assert module.split(".")[0] != "matplotlib" or name in DRAW


def test_init_holds_names_only():
    names = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign)
    body = tree_of("rmsfast").body
    (later,) = [node for node in body if isinstance(node, ast.If)]
    for node in [*body, *later.body]:
        assert node is later or isinstance(node, names), ast.unparse(node)
    assert [node.name for node in later.orelse[1:]] == ["__getattr__", "__dir__"]
    assert len(set(rmsfast.__all__)) == len(rmsfast.__all__)
    assert {*dir(rmsfast)} == {*rmsfast.__all__, "__version__", "options"}
    assert all(hasattr(rmsfast, name) for name in dir(rmsfast))
    with pytest.raises(AttributeError, match="'rmsfast' has no attribute 'typo'"):
        _ = rmsfast.typo


def test_names_are_imported_later_from_where_type_checkers_find_them():
    (later,) = [node for node in tree_of("rmsfast").body if isinstance(node, ast.If)]
    assert ast.unparse(later.test) == "TYPE_CHECKING"
    homes = {}
    for node in later.body:
        for alias in node.names:
            homes[alias.name] = alias.name if node.module == "rmsfast" else node.module[8:]
    assert homes == rmsfast._HOMES
    assert {*homes} <= {*rmsfast.__all__}


def test_no_module_hides_a_name():
    """Else the import of the module would put it in the place of what it holds."""
    for name in rmsfast.__all__:
        assert f"rmsfast.{name}" not in NAMES or inspect.ismodule(getattr(rmsfast, name))


LATER = """
import sys
import numba, scipy.optimize
before = {*sys.modules}
import rmsfast
print(*{*sys.modules} - before)
"""


def test_import_leaves_for_later_what_a_first_minimization_does_without():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LATER], check=True, text=True, stdout=subprocess.PIPE
    )
    loaded = {*done.stdout.split()}
    assert "rmsfast.minimize" in loaded
    heavy = {"concurrent.futures.process", "importlib.metadata", "multiprocessing", "scipy.stats"}
    heavy |= {"matplotlib", "numba.np.arrayobj", "numba.typed"}
    later = {f"rmsfast.{home}" for home in rmsfast._HOMES.values()}
    later |= {f"rmsfast.{room}" for room in ("batches", "device", "passes", "tree")}
    later |= {f"rmsfast.core.{name}" for name in ("cpu", "cuda", "lanes", "minibatch", "queue")}
    assert not loaded & (heavy | later)


# Where facts stand -------------------------------------------------------------------------------

HYPERPARAMETERS = {field.name for field in dataclasses.fields(options.RMSPropOptions)}
OPTION_CLASSES = [
    cls for cls in vars(options).values() if dataclasses.is_dataclass(cls) and isinstance(cls, type)
]
OPTIONS = {field.name for cls in OPTION_CLASSES for field in dataclasses.fields(cls)}


@pytest.mark.parametrize("name", [n for n in NAMES if n != "rmsfast.options"])
def test_defaults_stand_in_options_only(name):
    for node in ast.walk(tree_of(name)):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            a = node.args
            positional = [*a.posonlyargs, *a.args]
            pairs = [*zip(positional[::-1], a.defaults[::-1], strict=False)]
            pairs += [(arg, d) for arg, d in zip(a.kwonlyargs, a.kw_defaults, strict=True) if d]
            given = {arg.arg for arg, d in pairs if ast.unparse(d) != "None"}  # None: not given
            assert not given & OPTIONS, f"{name}:{node.lineno}"
        if isinstance(node, ast.ClassDef) and name != "rmsfast.schedules":
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and item.value is not None:
                    assert item.target.id not in OPTIONS, f"{name}:{item.lineno}"


@each_core
def test_codes_have_sentences(name):
    if name != "rmsfast.core.status":
        return
    status = importlib.import_module(name)
    codes = {v for k, v in vars(status).items() if k.isupper() and isinstance(v, int)}
    codes.remove(status.COUNT)
    assert max(codes) < status.COUNT
    assert {*status.MESSAGE} == codes
    assert all(text.endswith(".") for text in status.MESSAGE.values())
    assert {*status.SUCCESS} < codes
    functions = (rmsfast.rmsprop, rmsfast.minimize_many, rmsfast.minimize_minibatch)
    documents = "".join(function.__doc__ for function in functions)
    described = re.findall(r"^ +(\d+) +(?:True|False) ", documents, re.MULTILINE)
    assert {int(code) for code in described} == codes - {status.RUNNING}


def test_results_are_made_in_conversations_only():
    users = {name for name in NAMES if "OptimizeResult" in path_of(name).read_text()}
    assert all(ROOMS.get(room(name), 2) == 2 for name in users)


# Documentation -----------------------------------------------------------------------------------


def sections(text):
    """The numpydoc sections of a docstring: title -> text."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", inspect.cleandoc(text), flags=re.MULTILINE)
    return {"Summary": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def documented(text):
    """Names at the left margin of a section of parameters."""
    names = re.findall(r"^([*\w][\w*, ]*?)(?: : .*)?$", text, flags=re.MULTILINE)
    return [name.strip("* ") for line in names for name in line.split(",")]


def public():
    """Functions and classes that a user reaches by name, and their public methods."""
    modules = [rmsfast, rmsfast.schedules, rmsfast.plot]
    modules += [importlib.import_module(n) for n in ("rmsfast.kernels", "rmsfast.kernels.cuda")]
    seen = {}
    for module in modules:
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        ]
        for name in names:
            value = getattr(module, name)
            if inspect.isclass(value) and issubclass(value, OptimizeResult):
                continue  # made by functions, not by users
            if inspect.isclass(value) or inspect.isfunction(value):
                seen.setdefault(value, f"{module.__name__}.{name}")
    return {name: value for value, name in seen.items()}


PUBLIC = public()
METHODS = {
    f"{name}.{attribute}": inspect.unwrap(getattr(value, "__func__", value))
    for name, owner in PUBLIC.items()
    if inspect.isclass(owner)
    for attribute, value in vars(owner).items()
    if (not attribute.startswith("_") or attribute == "__call__")
    and (inspect.isfunction(value) or isinstance(value, (classmethod, staticmethod)))
}


def parameters(function):
    own = list(inspect.signature(function).parameters)
    return [name for name in own if name not in ("self", "cls")]


@pytest.mark.parametrize("name", PUBLIC)
def test_parameters_are_documented_as_they_are(name):
    text = sections(PUBLIC[name].__doc__)
    expected = [p for p in parameters(PUBLIC[name]) if p != "options" or "options" in str(text)]
    names = documented(text.get("Parameters", ""))
    if "Options" in text:
        expected = [p for p in expected if p != "options"]
    assert names == expected


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_have_an_example(name):
    text = sections(PUBLIC[name].__doc__)
    assert ">>> " in text.get("Examples", ""), f"{name} has no Examples section"


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_documented(name):
    text = sections(METHODS[name].__doc__)
    if "Parameters" in text:
        assert documented(text["Parameters"]) == parameters(METHODS[name])
    else:  # short ones name what they take in their sentence
        assert all(f"`{p}`" in text["Summary"] for p in parameters(METHODS[name]))


@each_module
def test_all_that_is_public_has_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for node in ast.walk(tree_of(name)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            local = node.col_offset > 4 or node not in _definitions(name, node)
            assert local or ast.get_docstring(node), f"{name}.{node.name} has no docstring"


def _definitions(name, wanted):
    """Functions and classes of a module and of its classes, by position."""
    tree = tree_of(name)
    bodies = [tree.body, *(n.body for n in tree.body if isinstance(n, ast.ClassDef))]
    found = [n for body in bodies for n in body]
    return [wanted] if any(ast.dump(wanted) == ast.dump(n) for n in found) else []


@each_module
def test_parameter_sections_match_their_functions(name):
    """Wherever a function has a Parameters section, public or not, it is right."""
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.FunctionDef):
            text = sections(ast.get_docstring(node) or "")
            a = node.args
            expected = [arg.arg for arg in [*a.posonlyargs, *a.args]]
            expected += [a.vararg.arg] if a.vararg else []
            expected += [arg.arg for arg in a.kwonlyargs] + ([a.kwarg.arg] if a.kwarg else [])
            expected = [e for e in expected if e not in ("self", "cls")]
            if "Options" in text:
                expected.remove("options")
            if "Parameters" in text:
                assert documented(text["Parameters"]) == expected, f"{name}.{node.name}"


@pytest.mark.parametrize("cls", OPTION_CLASSES, ids=lambda cls: cls.__name__)
def test_option_classes_document_exactly_their_fields(cls):
    names = [field.name for field in dataclasses.fields(cls)]
    assert documented(sections(cls.__doc__)["Parameters"]) == names


def test_options_of_the_method_are_documented():
    text = sections(rmsfast.rmsprop.__doc__)["Options"].replace("\\\n", "")
    others = {field.name for field in dataclasses.fields(options.UpdateOptions)}
    starts = {field.name for field in dataclasses.fields(options.MultistartOptions)}
    batches = {field.name for field in dataclasses.fields(options.MinibatchOptions)}
    assert {*documented(text)} | {"tol"} == OPTIONS - others - starts - batches | {"preset", "tol"}
    assert "``tol``" in text
    assert {*documented(sections(rmsfast.RMSProp.__doc__)["Options"])} == others
    text = sections(rmsfast.minimize_minibatch.__doc__)["Options"].replace("\\\n", "")
    hyperparameters = {field.name for field in dataclasses.fields(options.RMSPropOptions)}
    assert {*documented(text)} == batches | hyperparameters | {"preset"}


def test_objectives_are_objectives():
    assert issubclass(Classical, Objective)


# Their examples need a GPU: test_cuda_update.py runs them in the simulator
NEED_GPU = {"rmsfast.kernels.cuda"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NEED_GPU])
def test_examples_run(name, pyplot):
    module = importlib.import_module(name)
    for compiled in vars(module).values():  # doctest does not look into compiled functions
        source = getattr(compiled, "py_func", None)
        if source is not None and source.__module__ == name and source.__doc__:
            assert ">>>" not in source.__doc__, f"the example of {source.__name__} is never run"
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    outcome = doctest.testmod(module, optionflags=flags, raise_on_error=False)
    assert outcome.failed == 0


def test_some_examples_are_run():
    attempted = sum(
        len(test.examples)
        for name in NAMES
        for test in doctest.DocTestFinder().find(importlib.import_module(name))
    )
    assert attempted > 20


def test_no_module_shadows_a_builtin():
    stems = {name.split(".")[-1] for name in NAMES}
    assert not stems & {*dir(builtins)}
