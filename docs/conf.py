"""How Sphinx builds the documentation: ``python -m sphinx -W -b html docs build/docs``."""

import itertools
import pathlib
import re
import sys
import warnings

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx import addnodes

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # the module gallery, for sphinx-gallery too

import gallery

import rmsfast

project = "rmsfast"
author = copyright = "the authors of rmsfast"
version = release = rmsfast.__version__

extensions = [
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
default_role = "autolink"
highlight_language = "none"  # a block in Python says so
templates_path = ["_templates"]

# Docstrings ------------------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # types stand in the docstrings
autosummary_generate = True
warnings.filterwarnings("error", "Unknown section")  # numpydoc leaves it out
warnings.filterwarnings("ignore", "Unknown section Options")  # mend_docstring brings it in
numpydoc_show_class_members = False  # autodoc shows them, with their docstrings
numpydoc_validation_checks = {  # all but
    "all",
    "ES01",  # an extended summary,
    "EX01",  # an example and
    "SA01",  # a See Also in each method;
    "PR01",  # parameters, which
    "PR02",  # tests/test_architecture.py
    "PR04",  # compares with the code,
    "RT01",  # and results;
    "GL07",  # the place of Options;
    "PR08",  # and capitals:
    "RT04",  # names
    "RT05",  # keep
    "SA03",  # theirs
}

# The README and its kin ------------------------------------------------------------------------

PAGES = {  # file -> where it is shown, from a page at the root
    r"examples/(\w+)\.py": r"examples/\1.html",
    r"rmsfast/(kernels|objectives|plot)/__init__\.py": r"api/\1.html",
    r"rmsfast/core/(auto|solver)\.py": "api/core.html",
    r"docs/(.*)\.md": r"\1.html",
    r"(rmsfast/.*)\.py": r"_modules/\1.html",
}

# Pictures --------------------------------------------------------------------------------------

plot_formats = [("png", 110)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_include_source = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "examples",
    "filename_pattern": "/(" + "|".join(map(re.escape, gallery.RUN)) + ")$",
    "within_subsection_order": "gallery.position",
    "reset_argv": "gallery.arguments",
    "image_scrapers": ("matplotlib", "gallery.written_picture"),
    "capture_repr": (),
    "default_thumb_file": str(pathlib.Path(__file__).with_name("_static") / "printed.svg"),
    "download_all_examples": False,
    "notebook_extensions": set(),  # no notebooks: some examples read their command line
    "show_signature": False,
    "write_computation_times": False,
}

# Looks -----------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "secondary_sidebar_items": {"[!b]**": ["page-toc"]},  # benchmarks have wide tables
    "show_prev_next": False,
    "show_toc_level": 2,
}
html_show_sourcelink = False
html_sidebars = {page: [] for page in ("guide", "recipes", "changelog", "contributing")}
html_static_path = ["_static"]
html_css_files = ["rmsfast.css"]
html_math_renderer = "mathml"
html_title = f"rmsfast {version}"


def mend_docstring(app, what, name, obj, options, lines):
    """Tell numpydoc what it does not know: the section Options, and formulas of objectives."""
    if isinstance(obj, rmsfast.objectives.Classical):
        _mark_formulas(lines)
    for title, line in itertools.pairwise(range(len(lines))):
        if lines[title] == "Options" and lines[line].startswith("---"):
            lines[title : line + 1] = ["Other Parameters", "----------------"]


def name_options(app, what, name, obj, options, lines):
    """Call the section Options again: the docstring does, and so does SciPy."""
    lines[:] = [":Options:" if line == ":Other Parameters:" else line for line in lines]


def _mark_formulas(lines):
    """Make the indented blocks of a docstring literal ones."""
    starts = [
        i + 1
        for i, (before, line) in enumerate(itertools.pairwise(lines))
        if not before and line.startswith("    ")
    ]
    for i in reversed(starts):
        lines[i:i] = ["::", ""]


def lead_links(app, doctree):
    """Lead links of the README and its kin from files of the repository to their pages."""
    links = (addnodes.pending_xref, addnodes.download_reference)
    for node in list(doctree.findall(lambda node: isinstance(node, links))):
        target = node["reftarget"] if node["reftype"] == "myst" else ""
        for pattern, page in PAGES.items():
            if re.fullmatch(pattern, target):
                uri = re.sub(pattern, page, target)
                node.replace_self(nodes.reference("", "", *node.children, refuri=uri))
                break


def fill_page(app, docname, source):
    """Add to a page what would be a list to keep."""
    if docname == "benchmarks/README":
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"
    if docname == "api/objectives":
        source[0] += _objectives()
    how = gallery.EXAMPLES.get(f"{docname.removeprefix('examples/')}.py")
    if isinstance(how, str):
        source[0] += f"\n.. note:: Not run when this page was made: {how}\n"


def _objectives():
    """Return a section for each family of classical functions: what its module says, and all."""
    text = ""
    families = {}
    for function in rmsfast.objectives.ALL:
        families.setdefault(function.fun.py_func.__module__, []).append(function.name)
    for family, names in sorted(families.items()):
        title, words = sys.modules[family].__doc__.split(".\n", 1)
        words = words.replace("References\n----------", ".. rubric:: References\n")
        text += f"\n{title}\n{'-' * len(title)}\n{words}"
        text += "".join(
            f"\n.. autodata:: rmsfast.objectives.{name}\n   :no-value:\n" for name in names
        )
    return text


def _write_math(translator, node):
    """Write a formula as MathML, which browsers show without a script from elsewhere."""
    block = isinstance(node, nodes.math_block)
    translator.body.append(tex2mathml(node.astext(), as_block=block))
    raise nodes.SkipNode


def setup(app):
    """Connect the functions above."""
    app.add_html_math_renderer("mathml", (_write_math, None), (_write_math, None))
    app.connect("autodoc-process-docstring", mend_docstring, priority=400)  # before numpydoc
    app.connect("autodoc-process-docstring", name_options, priority=600)  # after numpydoc
    app.connect("doctree-read", lead_links, priority=400)  # before links are followed
    app.connect("source-read", fill_page)
