"""9. Classification: handwritten digits and breast cancer
=======================================================

Softmax regression on 1797 digits of 8 x 8 pixels, and logistic regression on 569 tumours, both with
data that scikit-learn carries, standardized, a quarter of the rows held out, and penalized by half
the sum of squared weights over C = 0.1 times the number of rows. `rmsfast.minimize_minibatch` takes
batches of 32 for 200 epochs, with a learning rate that falls as 1 / k and the average of the points
of the second half (Polyak's), and is compared with the optimum of the same objective by
scikit-learn.

The loss ends 0.015 % above the optimum for the digits and 0.002 % for the tumours, and as many of
the rows held out are recognized. With rho = 0.9 it stays 0.64 % and 0.014 % above, however long it
runs: RMSProp divides each gradient by a mean square in which that gradient has a part, of 10 %
then, so a rare large gradient counts for less than it should, and the average step is zero
elsewhere than the average gradient. A larger rho helps, and so do larger batches.

The gradient is a product of matrices, by BLAS within the compiled loop; written as loops a step
takes two to three times as long at batches of 32 and of 64.

``python examples/digits_classification.py`` needs scikit-learn; ``--output gaps.png`` draws how the
loss falls (needs Matplotlib).
"""

import argparse
import math

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import rmsfast

C, BATCH = 0.1, 32
RHOS = 0.99, 0.9


@rmsfast.Objective
def softmax(x, g, features, label, penalty):
    """Mean cross entropy and penalty; x holds the weights, a row per feature, then the biases."""
    rows, columns = features.shape
    bias = x.size // (columns + 1) * columns
    scores = np.dot(features, x[:bias].reshape(columns, -1))
    classes = scores.shape[1]
    f = 0.0
    g[bias:] = 0.0
    for i in range(rows):
        top = -np.inf
        for k in range(classes):
            scores[i, k] += x[bias + k]
            top = max(top, scores[i, k])
        f += top - scores[i, label[i]]
        total = 0.0
        for k in range(classes):
            scores[i, k] = math.exp(scores[i, k] - top)
            total += scores[i, k]
        f += math.log(total)
        for k in range(classes):  # probabilities less what they should be
            scores[i, k] = (scores[i, k] / total - (k == label[i])) / rows
            g[bias + k] += scores[i, k]
    np.dot(features.T, scores, g[:bias].reshape(columns, classes))
    f /= rows
    for j in range(bias):
        f += 0.5 * penalty * x[j] ** 2
        g[j] += penalty * x[j]
    return f


@rmsfast.Objective
def logistic(x, g, features, label, penalty):
    """Mean cross entropy and penalty; x holds the weights, then the bias."""
    rows, bias = features.shape
    scores = np.dot(features, x[:bias])
    f = 0.0
    g[bias] = 0.0
    for i in range(rows):
        score = scores[i] + x[bias]
        f += max(score, 0.0) - label[i] * score + math.log1p(math.exp(-abs(score)))
        scores[i] = (1.0 / (1.0 + math.exp(-score)) - label[i]) / rows
        g[bias] += scores[i]
    np.dot(scores, features, g[:bias])
    f /= rows
    for j in range(bias):
        f += 0.5 * penalty * x[j] ** 2
        g[j] += penalty * x[j]
    return f


PROBLEMS = {
    "digits": (load_digits, softmax, 10),
    "breast cancer": (load_breast_cancer, logistic, 1),
}


def split(load):
    """Return features and labels to train with, and those held out, standardized by the former."""
    features, label = load(return_X_y=True)
    parts = train_test_split(features, label, random_state=0, stratify=label)
    scaler = StandardScaler().fit(parts[0])
    known, others = (np.ascontiguousarray(scaler.transform(part)) for part in parts[:2])
    return (known, parts[2]), (others, parts[3])


def optimum(data):
    """Return the point that scikit-learn finds."""
    model = LogisticRegression(C=C, solver="newton-cg", tol=1e-10).fit(*data)
    return np.append(model.coef_.T, model.intercept_)


def train(fun, outputs, data, epochs, rho):
    """Return a result of RMSProp, with the loss of all rows after each epoch."""
    rows, columns = data[0].shape
    steps = epochs * -(-rows // BATCH)
    return rmsfast.minimize_minibatch(
        fun,
        np.zeros((columns + 1) * outputs),
        data,
        args=(1.0 / (C * rows),),
        batch_size=BATCH,
        epochs=epochs,
        lr=rmsfast.schedules.inverse_time(0.03, 50.0 / steps),
        rho=rho,
        average="polyak",
        average_start=epochs // 2,
        validation=data,
        rng=0,
    )


def accuracy(x, outputs, data):
    """Return the share of rows that are recognized."""
    features, label = data
    scores = features @ x[:-outputs].reshape(-1, outputs) + x[-outputs:]
    found = scores.argmax(axis=1) if outputs > 1 else scores[:, 0] > 0.0
    return np.mean(found == label)


def draw(file, gaps):
    """Draw how the loss of each run approaches the optimum, relative to it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    ax = figure.subplots()
    for (name, rho), gap in gaps.items():
        color = "#0072B2" if name == "digits" else "#D55E00"
        dashes = "-" if rho == RHOS[0] else "--"
        epochs = np.arange(1, gap.size + 1)
        ax.plot(epochs, gap, color=color, linestyle=dashes, label=f"{name}, rho = {rho}")
    ax.set(xlabel="epoch", ylabel="(loss - optimum) / optimum", yscale="log")
    ax.grid(color="0.9")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    figure.savefig(file, dpi=100)


@threadpool_limits.wrap(limits=1)  # matrices so small that threads of BLAS wait for each other
def main(arguments=None):
    """Train, compare with scikit-learn, and print losses and accuracies; return them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--epochs", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--output", metavar="FILE", help="draw how the loss falls")
    chosen = parser.parse_args(arguments)
    table, gaps = {}, {}
    print("                              loss   above the optimum   accuracy   seconds")
    for name, (load, fun, outputs) in PROBLEMS.items():
        known, others = split(load)
        best = optimum(known)
        lowest, _ = fun(best, *known, 1.0 / (C * len(known[0])))
        right = accuracy(best, outputs, others)
        print(f"{name:13s} scikit-learn {lowest:.6f} {'':19s} {right:10.4f}")
        train(fun, outputs, known, 1, RHOS[0])  # compiles
        for rho in RHOS:
            result = train(fun, outputs, known, chosen.epochs, rho)
            gaps[name, rho] = result.validation_loss / lowest - 1.0
            table[name, rho] = gaps[name, rho][-1], accuracy(result.x, outputs, others), right
            gap, share, _ = table[name, rho]
            print(f"{name:13s} rho = {rho:<6} {result.fun:.6f} {gap:19.4%} {share:10.4f}", end=" ")
            print(f"{result.seconds.sum():9.3f}")
    if chosen.output:
        draw(chosen.output, gaps)
        print(f"written: {chosen.output}")
    return table


if __name__ == "__main__":
    main()
