"""The examples on mini-batches, paths and classification: what they claim, from outside."""

import functools
import http.server
import re
import runpy
import sys
import threading

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy.stats import ks_2samp
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

DATA = REPOSITORY / "tests" / "data" / "airfoil_self_noise.dat"
GIVE = rf"give --data {DATA.relative_to(REPOSITORY).as_posix()}, which a clone of rmsfast has\.$"


def load(name):
    return runpy.run_path(str(REPOSITORY / "examples" / f"{name}.py"))


def is_png(path):
    with Image.open(path) as picture:
        picture.load()
        return picture.format == "PNG" and min(picture.size) >= 300


# Airfoils ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def airfoil():
    names = load("airfoil_minibatch")
    return names, names["load"](DATA)


def numpy_loss(features, noise, seed):
    """The loss after two epochs of a loop in NumPy, with orders drawn by NumPy."""
    rng = np.random.default_rng(seed)
    columns = np.c_[features, np.ones(len(noise))]
    w, s = np.append(0.01 * rng.standard_normal(5), 0.0), np.zeros(6)
    for _ in range(2):
        for rows in rng.permutation(len(noise)).reshape(-1, 10):
            g = columns[rows].T @ (columns[rows] @ w - noise[rows]) / 10
            s = 0.9 * s + 0.1 * g * g
            w = w - 0.01 / np.sqrt(s + 1e-6) * g
    return 0.5 * np.mean((columns @ w - noise) ** 2)


def test_airfoil_prints_what_it_says(airfoil, capsys):
    names, (features, noise) = airfoil
    runs = names["main"](["--data", str(DATA), "--torch"])
    printed = capsys.readouterr().out
    mean, deviation = re.search(r"mean (\S+), standard deviation (\S+)", printed).groups()
    assert f"the loss is {mean} on average" in " ".join(names["__doc__"].split())
    assert f"a standard deviation of {deviation}." in " ".join(names["__doc__"].split())
    assert re.findall(r"^ +(\S+) 0\.\d{6}$", printed, re.M) == ["0.5", "1.0", "1.5", "2.0"]
    assert float(re.search(r"300 steps: largest difference (\S+)", printed)[1]) < 1e-14

    fit = LinearRegression().fit(features, noise)
    lowest = 0.5 * np.mean((fit.predict(features) - noise) ** 2)
    assert f"least squares        {lowest:.6f}" in printed
    assert f"least squares reaches {lowest:.6f}" in names["__doc__"]
    losses = np.array([run.fun for run in runs])
    assert len(losses) == 1000
    assert (losses > lowest).all()
    # the loss before training that the description of the data gives
    assert_allclose(0.5 * np.mean(noise**2), 0.49326, atol=5e-6)
    # an own loop, another library: those who wrote the book had one order each
    low, high = np.quantile(losses, [0.01, 0.99])
    for loss in (0.243452, 0.243676):
        assert low < loss < high
        assert str(loss) in printed
    others = [numpy_loss(features, noise, seed) for seed in range(300)]
    assert ks_2samp(losses, others).pvalue > 0.01


def test_airfoil_takes_the_steps_of_pytorch(airfoil):
    names, (features, noise) = airfoil
    points, followed = names["follow_by_torch"]((features, noise), 3)
    assert points.shape == followed.shape == (300, 6)
    assert_allclose(points, followed, rtol=0.0, atol=1e-14)
    # the run that Python records is the compiled one
    result = names["train"]((features, noise), 3, eps=1e-8, eps_in_sqrt=False)
    assert_array_equal(points[-1], result.x)
    loss = torch.nn.functional.mse_loss(
        torch.tensor(features @ result.x[:-1] + result.x[-1]), torch.tensor(noise)
    )
    assert_allclose(names["squares"](result.x, features, noise)[0], 0.5 * loss.item(), rtol=1e-12)


@pytest.fixture
def address(tmp_path, monkeypatch):
    """The address of a server of the data, and of other data with the same name."""
    for folder in ("good", "bad"):
        (tmp_path / folder).mkdir()
    (tmp_path / "good" / DATA.name).write_bytes(DATA.read_bytes())
    (tmp_path / "bad" / DATA.name).write_bytes(DATA.read_bytes()[:-1])
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_airfoil_fetches_the_data_once(airfoil, address, tmp_path):
    names, (features, noise) = airfoil
    path = names["fetch"](f"{address}/good/{DATA.name}", tmp_path / "cache")
    fetched, _ = names["load"](path)
    assert_array_equal(fetched, features)
    (tmp_path / "good" / DATA.name).unlink()
    assert names["fetch"](f"{address}/good/{DATA.name}", tmp_path / "cache") == path
    with pytest.raises(SystemExit, match=f"cannot be fetched: {GIVE}"):
        names["fetch"](f"{address}/good/{DATA.name}", tmp_path / "empty")


def test_airfoil_refuses_other_data(airfoil, address, tmp_path):
    names, _ = airfoil
    with pytest.raises(ValueError, match="hash of downloaded file"):
        names["fetch"](f"{address}/bad/{DATA.name}", tmp_path / "cache")


def test_airfoil_without_pooch_says_what_to_do(airfoil, monkeypatch):
    names, _ = airfoil
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(SystemExit, match=rf'^pip install "\.\[examples\]" .* or {GIVE}'):
        names["main"]([])


def test_airfoil_without_pytorch_says_what_to_do(airfoil, monkeypatch):
    names, _ = airfoil
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit, match=r"^--torch needs PyTorch: pip install torch\.$"):
        names["main"](["--data", str(DATA), "--torch"])


def test_airfoil_draws(airfoil, tmp_path):
    names, _ = airfoil
    path = tmp_path / "losses.png"
    names["main"](["--data", str(DATA), "--seeds", "20", "--output", str(path)])
    assert is_png(path)


# A neuron ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def neuron():
    return load("sigmoid_neuron")


INPUTS, WANTED = np.array([0.5, 2.5]), np.array([0.2, 0.9])


def neuron_error(x):
    """The error and its gradient, by PyTorch."""
    w = torch.tensor(np.asarray(x), requires_grad=True)
    output = torch.sigmoid(w[0] * torch.tensor(INPUTS) + w[1])
    error = 0.5 * torch.sum((output - torch.tensor(WANTED)) ** 2)
    error.backward()
    return error.item(), w.grad.numpy()


def neuron_path(rule, epochs, lr):
    """Iterates by the formulas of the lecture, (epochs + 1, 2), and their errors."""
    x, v = np.array([-2.0, -2.0]), np.zeros(2)
    path, errors = [x], []
    for _ in range(epochs):
        error, g = neuron_error(x)
        if rule == "momentum":
            v = 0.9 * v + lr * g
            x = x - v
        else:
            v = v + g * g if rule == "AdaGrad" else 0.9 * v + 0.1 * g * g
            x = x - lr / np.sqrt(v + 1e-9) * g
        path.append(x)
        errors.append(error)
    return np.array(path), np.array([*errors, neuron_error(x)[0]])


def test_neuron_error_is_that_of_pytorch(neuron):
    for x in ([-2.0, -2.0], [0.3, -1.7], [4.0, 2.0]):
        f, g = neuron["error"](np.array(x), INPUTS, WANTED)
        expected, gradient = neuron_error(x)
        assert_allclose(f, expected, rtol=1e-13)
        assert_allclose(g, gradient, rtol=1e-12)


def test_neuron_fits_exactly(neuron):
    w, b = neuron["exact"]()
    assert_allclose(1.0 / (1.0 + np.exp(-(w * INPUTS + b))), WANTED, rtol=1e-14)
    assert f"w = {w:.6f} and b = {b:.6f}" in neuron["__doc__"]


def test_neuron_takes_the_steps_of_the_lecture(neuron):
    for rule, result in neuron["train"](200).items():
        path, _ = neuron_path(rule, 200, 1.0 if rule == "momentum" else 0.1)
        # near the minimum RMSProp divides rounding errors by their size
        count = 85 if rule == "RMSProp" else 201
        assert len(result.allvecs) == 201
        assert_allclose(result.allvecs[:count], path[:count], rtol=1e-9, atol=1e-9)


def test_neuron_prints_the_epochs_of_the_lectures_formulas(neuron, capsys):
    neuron["main"]([])
    printed = capsys.readouterr().out
    assert re.search(r"^exact +1\.791759 -2\.282174$", printed, re.M)
    text = " ".join(neuron["__doc__"].split())
    for rule, lr, said in (
        ("RMSProp", 0.1, "after 43 epochs"),
        ("momentum", 1.0, "148 epochs"),
        ("AdaGrad", 0.1, "940 epochs"),
    ):
        _, errors = neuron_path(rule, 1000, lr)
        firsts = [np.argmax(errors < e) if (errors < e).any() else "-" for e in (1e-2, 1e-3, 1e-6)]
        cells = re.search(rf"^{rule} +epoch +(\S+) +(\S+) +(\S+) ", printed, re.M).groups()
        assert cells == tuple(map(str, firsts))
        assert said in text and cells[1] in said.split()
    _, errors = neuron_path("RMSProp", 200, 0.1)
    assert "After some 90 epochs RMSProp is nearly exact" in text
    assert 85 < errors.argmin() < 95 and errors.min() < 1e-15 and errors[-1] > 1e-5
    _, errors = neuron_path("AdaGrad", 100, 1.0)
    assert f"with learning rate 1, AdaGrad takes {np.argmax(errors < 1e-3)}." in text


def test_neuron_draws(neuron, tmp_path, monkeypatch):
    monkeypatch.setitem(neuron["main"].__globals__, "DRAWN", 12)
    picture, animation = tmp_path / "neuron.png", tmp_path / "neuron.gif"
    neuron["main"](["--epochs", "5", "--output", str(picture), "--animation", str(animation)])
    assert is_png(picture)
    with Image.open(animation) as film:
        assert film.format == "GIF" and film.n_frames >= 12


# The valley --------------------------------------------------------------------------------------


def test_trajectories_end_where_the_book_says(tmp_path, capsys):
    path = tmp_path / "trajectories.png"
    load("trajectories")["main"](["--output", str(path)])
    # sections 12.8 and 12.7, "x1: -0.010599, x2: 0.000000" and "x1: -2.382563, x2: -0.158591"
    assert capsys.readouterr().out.splitlines()[:2] == [
        "RMSProp: epoch 20, x1: -0.010599, x2: 0.000000",
        "AdaGrad: epoch 20, x1: -2.382563, x2: -0.158591",
    ]
    assert is_png(path)


# Classification ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    names = load("digits_classification")
    path = tmp_path_factory.mktemp("digits") / "gaps.png"
    return names, names["main"](["--output", str(path)]), path


def test_classification_comes_close_to_scikit_learn(digits):
    names, table, _ = digits
    # what the docstring says, in per cent, and room for how BLAS rounds
    said = {("digits", 0.99): 0.015, ("breast cancer", 0.99): 0.002}
    said |= {("digits", 0.9): 0.64, ("breast cancer", 0.9): 0.014}
    assert {*table} == {*said}
    for (name, rho), (gap, share, right) in table.items():
        assert_allclose(100 * gap, said[name, rho], rtol=0.15)
        if rho == 0.99:
            assert share == right > 0.95
    text = " ".join(names["__doc__"].split())
    assert "0.015 % above the optimum for the digits and 0.002 % for the tumours" in text
    assert "0.64 % and 0.014 % above" in text


@pytest.mark.parametrize("name", ["digits", "breast cancer"])
def test_classification_has_the_objective_of_scikit_learn(digits, name):
    names, _, _ = digits
    read, fun, outputs = names["PROBLEMS"][name]
    (features, label), others = names["split"](read)
    penalty = 10.0 / len(label)
    with threadpool_limits(1):
        model = LogisticRegression(C=0.1, solver="newton-cg", tol=1e-10).fit(features, label)
    best = np.append(model.coef_.T, model.intercept_)
    f, g = fun(best, features, label, penalty)
    mean = log_loss(label, model.predict_proba(features))
    assert_allclose(f, mean + 0.5 * penalty * np.sum(model.coef_**2), rtol=1e-12)
    assert abs(g).max() < 1e-8
    assert_allclose(names["accuracy"](best, outputs, others), model.score(*others), rtol=1e-15)


@pytest.mark.parametrize("name", ["digits", "breast cancer"])
def test_classification_has_the_gradient_of_pytorch(digits, name):
    names, _, _ = digits
    read, fun, outputs = names["PROBLEMS"][name]
    (features, label), _ = names["split"](read)
    features, label = features[:40], label[:40]
    x = torch.tensor(
        np.random.default_rng(0).standard_normal((features.shape[1] + 1) * outputs),
        requires_grad=True,
    )
    scores = torch.tensor(features) @ x[:-outputs].reshape(-1, outputs) + x[-outputs:]
    if outputs > 1:
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor(label))
    else:
        wanted = torch.tensor(label, dtype=torch.float64)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores[:, 0], wanted)
    loss = loss + 0.5 * 0.02 * torch.sum(x[:-outputs] ** 2)
    loss.backward()
    f, g = fun(x.detach().numpy(), features, label, 0.02)
    assert_allclose(f, loss.item(), rtol=1e-12)
    assert_allclose(g, x.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_classification_draws(digits):
    assert is_png(digits[2])
