"""Quantities that say why a network learns or not, computed from the weights of M networks and their training rows.

Layers are counted from 1, the first after the inputs; the last is the logit. L is the mean loss of the rows in nats,
z_k what layer k puts out before the activation phi, h_k = phi(z_k) what it puts out after it.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pima_hp.model.mlp import layer_shapes

# Networks that are diagnosed at a time, so that their numbers stay in the processor's cache.
CHUNK = 32

# Of a network whose Hessian is computed.
MOST_PARAMETERS = 1_000

# Of the calibration error, as in Guo et al. 2017.
N_BINS = 15

# Activation with two flat ends -> outputs below and above which it is near one of them.
SATURATED = {nn.Tanh: (-0.9, 0.9), nn.Sigmoid: (0.05, 0.95)}

# Activations that turn at 0: a unit may be on one side of it for all rows.
ONE_SIDED = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU)

Quantities = dict[str, Tensor]  # name -> (M,)
Rows = tuple[Tensor, Tensor]  # features (M, n, D), labels (M, n)


@torch.enable_grad()
def diagnose(
    vectors: Tensor, widths: Sequence[int], activation: nn.Module, train: Rows, val: Rows, *, curvature: bool
) -> Quantities:
    """Return the quantities of each network, in double precision: all of its training rows, calibration also of others.

    Args:
        vectors: (M, P) weights and biases in the order of `MLP.parameters()`.
        widths: D and the units of each hidden layer.
        activation: elementwise, without parameters.
        train: the training rows.
        val: the validation rows.
        curvature: whether the gradient noise and, of a small network, the Hessian are computed, too.
    """
    parts: list[Quantities] = []
    for chunk in zip(*(each.detach().split(CHUNK) for each in (vectors, *train, *val)), strict=True):
        one, x, y, val_x, val_y = (each.double() for each in chunk) if curvature else chunk
        inputs, outputs = forward(one.requires_grad_(), widths, activation, x)
        losses = F.binary_cross_entropy_with_logits(outputs[-1].squeeze(-1), y, reduction="sum")
        deltas = torch.autograd.grad(losses, outputs, retain_graph=True)  # of each row's loss by z, (M, n, H)
        parts.append(hessian_ends(losses / x.shape[1], one) if curvature and one.shape[1] <= MOST_PARAMETERS else {})
        with torch.no_grad():
            of_train, of_val = (of[-1].squeeze(-1) for of in (outputs, forward(one, widths, activation, val_x)[1]))
            parts[-1] |= gradient_norms(inputs, deltas) | activity(outputs[:-1], inputs[1:], activation)
            parts[-1] |= gradient_noise(inputs, deltas) if curvature else {}
            parts[-1]["linear_r2"] = linear_r2(x, of_train)
            parts[-1]["calibration_error/train"] = calibration_error(of_train, y)
            parts[-1]["calibration_error/val"] = calibration_error(of_val, val_y)
    return {name: torch.cat([found[name].double() for found in parts]) for name in parts[0]}


def forward(
    vectors: Tensor, widths: Sequence[int], activation: nn.Module, features: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Return what goes into each layer, (M, B, D), and what it puts out before the activation, (M, B, H)."""
    inputs, outputs = [features], list[Tensor]()
    for out, into in layer_shapes(widths):
        weight, bias, vectors = vectors.split([out * into, out, vectors.shape[1] - out * (into + 1)], dim=1)
        if outputs:
            inputs.append(activation(outputs[-1]))
        outputs.append(torch.baddbmm(bias.unsqueeze(1), inputs[-1], weight.view(-1, out, into).mT))
    return inputs, outputs


def gradient_norms(inputs: Sequence[Tensor], deltas: Sequence[Tensor]) -> Quantities:
    """Return the Frobenius norm of dL/dW of each layer, and that by the square root of its number of weights.

    Gradients that shrink from the last layer to the first vanish: Glorot, Bengio 2010, section 3.
    """
    found: Quantities = {}
    for k, (x, delta) in enumerate(zip(inputs, deltas, strict=True), 1):
        norm = torch.linalg.vector_norm(torch.bmm(delta.mT, x), dim=(1, 2)) / x.shape[1]
        scale = math.sqrt(x.shape[2] * delta.shape[2])
        found |= {f"gradient_norm/layer{k}": norm, f"gradient_rms/layer{k}": norm / scale}
    return found


def activity(outputs: Sequence[Tensor], activated: Sequence[Tensor], activation: nn.Module) -> Quantities:
    """Return how the units of each hidden layer work: means over rows and units, shares of units.

    `slope`: mean of phi'(z) by the largest |phi'| (of z from -20 to 20 in steps of 0.001), 1 where a layer passes
    gradients on undiminished. `saturation`: share of tanh outputs with |h| > 0.9, of sigmoid outputs below 0.05 or
    above 0.95 (Glorot, Bengio 2010). Of activations that turn at 0, the shares of units with z <= 0 on all rows,
    `dead_units` (of ReLU they pass no gradient), and with z > 0 on all rows, `always_on_units`, which are linear there
    (He et al. 2015).
    """
    grid, found = torch.arange(-20_000, 20_001, dtype=torch.float64) / 1000, Quantities()
    steepest = slopes(activation, grid).abs().max().to(outputs[0])
    for k, (z, h) in enumerate(zip(outputs, activated, strict=True), 1):
        found[f"slope/layer{k}"] = slopes(activation, z).mean((1, 2)) / steepest
        if ends := SATURATED.get(type(activation)):
            found[f"saturation/layer{k}"] = ((h < ends[0]) | (h > ends[1])).to(h.dtype).mean((1, 2))
        if isinstance(activation, ONE_SIDED):
            n_on = (z > 0).to(z.dtype).sum(1)  # rows, of each unit
            found[f"dead_units/layer{k}"] = (n_on == 0).to(z.dtype).mean(1)
            found[f"always_on_units/layer{k}"] = (n_on == z.shape[1]).to(z.dtype).mean(1)
    return found


@torch.enable_grad()
def slopes(activation: nn.Module, z: Tensor) -> Tensor:
    """Return phi'(z) of each element."""
    z = z.detach().requires_grad_()
    return torch.autograd.grad(activation(z).sum(), z)[0]


def linear_r2(features: Tensor, logits: Tensor) -> Tensor:
    """Return R^2 of the least-squares regression of the logits on the features, (M,): is it just a linear model?

    With centered columns X of deviation 1 and centered logits t, R^2 = (X't)' (X'X)^+ (X't) / t't; a constant column
    counts nothing. NaN where the logits differ by rounding alone.
    """
    x, t = (each - each.mean(1, keepdim=True) for each in (features.double(), logits.double()))
    scale = x.square().mean(1, keepdim=True).sqrt()
    x = x / torch.where(scale > 0, scale, 1)
    projected, inverse = torch.einsum("mnd,mn->md", x, t), torch.linalg.pinv(x.mT @ x, hermitian=True)
    rounding = 10 * torch.finfo(logits.dtype).eps * logits.abs().amax(1).double()
    total = torch.where(t.square().mean(1) > rounding.square(), t.square().sum(1), torch.nan)
    return torch.einsum("md,mde,me->m", projected, inverse, projected) / total


def calibration_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the expected calibration error, (M,): sum over bins of n_b / n |share of positives - mean probability|.

    Bins: 15 of equal width, of the probability of the positive class (Naeini et al. 2015; Guo et al. 2017).
    """
    probabilities = logits.double().sigmoid()
    bins = (probabilities.nan_to_num() * N_BINS).long().clamp(max=N_BINS - 1)
    gaps = probabilities.new_zeros(len(logits), N_BINS).scatter_add(1, bins, labels.double() - probabilities)
    return gaps.abs().sum(1) / labels.shape[1]


def gradient_noise(inputs: Sequence[Tensor], deltas: Sequence[Tensor]) -> Quantities:
    """Return the gradient noise scale tr(S) / |G|^2 in rows, and its parts, for averages before dividing.

    With g_i the gradient of row i by all parameters, and g their mean over the n rows, the estimators of McCandlish et
    al. 2018 (appendix A.1) for batches of 1 and of n rows are unbiased for rows drawn from a population:
    |G|^2 = (n |g|^2 - mean |g_i|^2) / (n - 1) and tr(S) = n (mean |g_i|^2 - |g|^2) / (n - 1).
    The scale is NaN where the estimate of |G|^2 is not positive. The gradient of a row by W is the outer product of its
    delta and its input (Goodfellow 2015), so |g_i|^2 needs no gradient of its own.
    """
    n, pairs = inputs[0].shape[1], [(F.pad(x, (0, 1), value=1.0), d) for x, d in zip(inputs, deltas, strict=True)]
    of_rows = torch.stack([(x.square().sum(2) * d.square().sum(2)).mean(1) for x, d in pairs]).sum(0)
    of_mean = torch.stack([(torch.bmm(d.mT, x) / n).square().sum((1, 2)) for x, d in pairs]).sum(0)
    squared, trace = (n * of_mean - of_rows) / (n - 1), n * (of_rows - of_mean) / (n - 1)
    scale = torch.where(squared > 0, trace / squared, torch.nan)
    return {"gradient_noise_scale": scale, "gradient_noise/trace": trace, "gradient_noise/squared_norm": squared}


def hessian_ends(loss: Tensor, vectors: Tensor) -> Quantities:
    """Return the largest and the smallest eigenvalue of the Hessian of each network's L by its parameters.

    The largest is the sharpness: gradient descent is unstable where it exceeds 2 / lr (Cohen et al. 2021). The adaptive
    methods' own limit is about the preconditioned Hessian, which weights alone do not give.

    Args:
        loss: the sum of L over the networks.
        vectors: (M, P)
    """
    (gradients,) = torch.autograd.grad(loss, vectors, create_graph=True)  # (M, P)
    rows = [torch.autograd.grad(column.sum(), vectors, retain_graph=True)[0] for column in gradients.unbind(1)]
    ends = torch.linalg.eigvalsh(torch.stack(rows, 1).nan_to_num(0.0, 0.0, 0.0))  # (M, P); finite while L is
    return {"hessian/largest": ends[:, -1], "hessian/smallest": ends[:, 0]}


def layer_norms(vectors: Tensor, widths: Sequence[int]) -> Tensor:
    """Return the norm of the weights and biases of each layer, in double precision, (M, P) -> (M, L)."""
    pieces = vectors.double().split([out * (into + 1) for out, into in layer_shapes(widths)], dim=1)
    return torch.stack([torch.linalg.vector_norm(piece, dim=1) for piece in pieces], 1)
