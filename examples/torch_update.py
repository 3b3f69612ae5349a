"""12. RMSProp on tensors of PyTorch on a GPU
===========================================

A small network learns on an NVIDIA GPU by `rmsfast.RMSProp`, and beside it a copy by
``torch.optim.RMSprop``. The update changes the tensors in place, on PyTorch's current stream, in
one kernel for all of them; nothing is copied.

Both get the same gradients, those of the first network, so that all that differs is rounding: one
may add a product and round once where the other rounds twice. A step is small beside its parameter,
and so are its last digits; only where they turn the rounding of the sum do the parameters part by
an ulp. The largest difference after 100 steps is printed, in ulps of the largest magnitude in its
tensor, and must be at most 10. (With the update on a CPU it is 1.5.)

``python examples/torch_update.py`` needs the GPU, PyTorch for CUDA, and
``pip install ".[cuda12]"`` or ``".[cuda13]"``. Where one is missing it says so.
"""

import sys

import rmsfast

STEPS, LIMIT = 100, 10
OPTIONS = {"lr": 1e-3, "eps": 1e-8, "momentum": 0.9, "weight_decay": 1e-4}


def import_torch():
    """Return PyTorch, if all that is needed is there."""
    try:
        import torch
    except ImportError:
        sys.exit("This example cannot run: there is no package torch, install PyTorch for CUDA.")
    if not torch.cuda.is_available():
        sys.exit("This example cannot run: PyTorch finds no GPU, or was built without CUDA.")
    try:
        rmsfast.RMSProp(lr=0.1).update(*torch.zeros(2, 1, device="cuda"))
    except RuntimeError as error:
        sys.exit(f"This example cannot run: {error}.")
    return torch


def ulps(torch, ours, theirs):
    """Return the largest difference, in ulps of the largest magnitude."""
    top = theirs.abs().max()
    ulp = torch.nextafter(top, torch.full_like(top, torch.inf)) - top
    return float((ours - theirs).abs().max() / ulp)


def train(torch, device):
    """Take the steps on a device; return the losses and the largest difference, in ulps."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)
    ).to(device)
    rows = torch.randn(1000, 8, device=device)
    targets = torch.sin(rows.sum(1, keepdim=True))
    params = list(network.parameters())
    copies = [p.detach().clone().requires_grad_() for p in params]
    ours = rmsfast.RMSProp(preset="torch", rho=0.99, **OPTIONS)
    theirs = torch.optim.RMSprop(copies, alpha=0.99, **OPTIONS)
    losses = []
    for _ in range(STEPS):
        loss = torch.nn.functional.mse_loss(network(rows), targets)
        losses.append(loss.detach())
        grads = torch.autograd.grad(loss, params)
        for copy, grad in zip(copies, grads, strict=True):
            copy.grad = grad.clone()
        ours.update(params, grads)
        theirs.step()
    pairs = zip(params, copies, strict=True)
    return [float(v) for v in losses], max(ulps(torch, a.detach(), b.detach()) for a, b in pairs)


def main():
    """Train on the GPU, and compare."""
    torch = import_torch()
    losses, difference = train(torch, "cuda")
    print(f"loss {losses[0]:.4f} at the start, {losses[-1]:.4f} before step {STEPS}")
    print(f"largest difference after {STEPS} steps: {difference:.2f} ulps")
    if difference > LIMIT:
        raise AssertionError(f"the optimizers must agree within {LIMIT} ulps, got {difference}")


if __name__ == "__main__":
    main()
