"""The gallery: which examples it shows, in which order, and how each is run.

To add one: a line here, and a docstring in reStructuredText whose title has the number.
"""

import pathlib
import shutil

# In reading order: file -> its arguments in the documentation, small enough for seconds; or, if it
# cannot be run there, a sentence that says why, which the page shows.
EXAMPLES: dict[str, list[str] | str] = {
    "quickstart.py": [],
    "own_loop.py": [],
    "multistart.py": ["--output", "basins.png"],
    "peak_fitting.py": ["--spectra", "20000", "--output", "maps.png"],
    "book_numbers.py": [],
    "airfoil_minibatch.py": [
        *("--data", "../tests/data/airfoil_self_noise.dat"),
        *("--output", "losses.png"),
    ],
    "sigmoid_neuron.py": ["--output", "neuron.png"],
    "trajectories.py": ["--output", "trajectories.png"],
    "digits_classification.py": ["--output", "gaps.png"],
    "cuda_peak_fitting.py": "It needs a GPU, and this page was made without one.",
    "cuda_rosenbrock.py": "It needs a GPU, and this page was made without one.",
    "torch_update.py": "It needs a GPU and PyTorch for CUDA, and this page was made without them.",
    "cupy_update.py": "It needs a GPU and CuPy, and this page was made without them.",
}
RUN = [name for name, how in EXAMPLES.items() if not isinstance(how, str)]


def position(filename):
    """Return the place of an example in the gallery."""
    return list(EXAMPLES).index(pathlib.Path(filename).name)


def arguments(gallery_conf, script_vars):
    """Return what stands behind the name of an example on its command line."""
    return EXAMPLES[pathlib.Path(script_vars["src_file"]).name]


def written_picture(block, block_vars, gallery_conf):
    """Show the picture that an example was asked to write, and remove the file."""
    source = pathlib.Path(block_vars["src_file"])
    option, name = ["", "", *EXAMPLES[source.name]][-2:]
    picture = source.parent / name
    if option != "--output" or not picture.exists():
        return ""
    shown = next(block_vars["image_path_iterator"])
    shutil.move(picture, shown)
    from sphinx_gallery.scrapers import figure_rst  # the tests read this module without Sphinx

    return figure_rst([shown], gallery_conf["src_dir"])
