"""6. Linear regression on mini-batches: the noise of airfoils
===========================================================

Section 12.8 of "Dive into Deep Learning" with `rmsfast.minimize_minibatch` in place of its loop:
the noise of an airfoil predicted from five measurements in a wind tunnel, NASA's, 1500 rows in
batches of 10, two epochs of RMSProp with learning rate 0.01, gamma 0.9, and eps 1e-6 inside the
root.

The loss is half the mean squared error of all rows, standardized. The book prints 0.243452 for its
own loop and 0.243676 for PyTorch's; least squares reaches 0.241688. Where a run ends depends on the
order of the rows: over 1000 orders the loss is 0.2443 on average, with a standard deviation of
0.0018.

``python examples/airfoil_minibatch.py`` fetches the data (needs pooch), ``--data FILE`` takes them
from a file: a clone has them in ``tests/data/airfoil_self_noise.dat``. ``--torch`` repeats a run by
PyTorch, on the same batches, and prints how far the two are apart at most: not more than rounding.
``--output losses.png`` draws where the runs end (needs Matplotlib).
"""

import argparse

import numpy as np

import rmsfast

NAME = "airfoil_self_noise.dat"
URL = f"https://archive.ics.uci.edu/ml/machine-learning-databases/00291/{NAME}"
SHA256 = "10ee06e6cfb27dae6b44213d421d217012fb1f9b697592e73a4e4016b52d425f"
ROWS, BATCH, EPOCHS = 1500, 10, 2
PRINTED = {"the book's own loop": 0.243452, "PyTorch, in the book": 0.243676}


@rmsfast.Objective
def squares(x, g, features, noise):
    """Half the mean squared error of weights x[:-1] and bias x[-1]; the gradient goes into g."""
    bias = x.size - 1
    f = 0.0
    g[:] = 0.0
    for i in range(noise.size):
        r = x[bias] - noise[i]
        for j in range(bias):
            r += x[j] * features[i, j]
        f += r * r
        for j in range(bias):
            g[j] += r * features[i, j]
        g[bias] += r
    g /= noise.size
    return 0.5 * f / noise.size


def fetch(url=URL, folder=None):
    """Download the data once, and return the path of the file; pooch compares it with SHA256."""
    give = f"give --data tests/data/{NAME}, which a clone of rmsfast has"
    try:
        import pooch
    except ImportError:
        raise SystemExit(f'pip install ".[examples]" to fetch the data, or {give}.') from None
    try:
        return pooch.retrieve(url, f"sha256:{SHA256}", NAME, folder or pooch.os_cache("rmsfast"))
    except OSError:
        raise SystemExit(f"{url} cannot be fetched: {give}.") from None


def load(path):
    """Return the features, shape (1500, 5), and the noise, all standardized, as the book has it."""
    table = np.loadtxt(path)
    table = ((table - table.mean(axis=0)) / table.std(axis=0))[:ROWS]
    return np.ascontiguousarray(table[:, :-1]), table[:, -1].copy()


def train(data, seed, fun=squares, **options):
    """Return the result of one run as the book has it, from small random weights."""
    rng = np.random.default_rng(seed)
    start = np.append(0.01 * rng.standard_normal(data[0].shape[1]), 0.0)
    options = {"preset": "d2l", **options}
    return rmsfast.minimize_minibatch(
        fun, start, data, batch_size=BATCH, epochs=EPOCHS, rng=rng, **options
    )


def import_torch():
    """Return PyTorch, if it is there."""
    try:
        import torch
    except ImportError:
        raise SystemExit("--torch needs PyTorch: pip install torch.") from None
    return torch


def follow_by_torch(data, seed):
    """Return the points of a run, (steps, 6), and those of torch.optim.RMSprop on its batches."""
    torch = import_torch()
    seen = []

    def recorded(x, *batch):
        seen.append([x.copy(), *(torch.tensor(part) for part in batch)])
        return squares(x, *batch)

    result = train(data, seed, recorded, eps=1e-8, eps_in_sqrt=False)  # where PyTorch has its eps
    w = torch.tensor(seen[0][0], requires_grad=True)
    optimizer = torch.optim.RMSprop([w], lr=0.01, alpha=0.9)
    followed = []
    for _, features, noise in seen:
        optimizer.zero_grad()
        loss = 0.5 * torch.mean((features @ w[:-1] + w[-1] - noise) ** 2)
        loss.backward()
        optimizer.step()
        followed.append(w.detach().numpy().copy())
    return np.array([x for x, *_ in seen[1:]] + [result.x]), np.array(followed)


def draw(file, losses, lowest):
    """Draw how often a run ends at which loss, and the numbers of the book."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    ax = figure.subplots()
    ax.hist(losses, bins=25, color="0.75", label=f"rmsfast, {len(losses)} orders of the rows")
    marks = {**PRINTED, "least squares": lowest}
    looks = zip(("#0072B2", "#D55E00", "black"), ("-", "--", ":"), strict=True)
    for (name, loss), (color, dashes) in zip(marks.items(), looks, strict=True):
        ax.axvline(loss, color=color, linestyle=dashes, label=f"{name}: {loss:.6f}")
    ax.set(xlabel="loss after two epochs", ylabel="runs")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    figure.savefig(file, dpi=100)


def main(arguments=None):
    """Train with many orders of the rows, and compare; return what the runs end with."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", metavar="FILE", help=f"{NAME}; fetched if not given")
    parser.add_argument("--seeds", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--torch", action="store_true", help="repeat the first run by PyTorch")
    parser.add_argument("--output", metavar="FILE", help="draw where the runs end")
    chosen = parser.parse_args(arguments)
    if chosen.torch:
        import_torch()  # before the runs
    data = load(chosen.data or fetch())

    train(data, 0, validation=data)  # compiles
    half = ROWS // BATCH // 2
    runs = [train(data, seed, validation=data, eval_steps=half) for seed in range(chosen.seeds)]
    print("epoch     loss")
    for epoch, loss in zip(runs[0].epoch, runs[0].validation_loss, strict=True):
        print(f"{epoch:5.1f} {loss:8.6f}")
    losses = np.array([run.fun for run in runs])
    seconds = np.median([run.seconds.sum() for run in runs]) / EPOCHS
    print(f"\nloss after {EPOCHS} epochs, {len(runs)} orders of the rows:", end=" ")
    print(f"mean {losses.mean():.4f}, standard deviation {losses.std():.4f}")
    features, noise = data
    residual = np.linalg.lstsq(np.c_[features, np.ones(ROWS)], noise)[1].item()
    lowest = 0.5 * residual / ROWS
    for name, loss in {**PRINTED, "least squares": lowest}.items():
        print(f"{name:20s} {loss:.6f}")
    print(f"an epoch takes {1e6 * seconds:.0f} us")
    if chosen.torch:
        points, followed = follow_by_torch(data, 0)
        apart = abs(points - followed).max()
        print(f"PyTorch, {len(points)} steps: largest difference {apart:.1e}")
    if chosen.output:
        draw(chosen.output, losses, lowest)
        print(f"written: {chosen.output}")
    return runs


if __name__ == "__main__":
    main()
