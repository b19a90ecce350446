"""Quantities that say why a network learns or not, computed from the weights of M networks and their training rows.

Layers are counted from 1, the first after the inputs; the last is the logit. L is the mean loss of the rows in nats,
z_k what layer k puts out before the activation phi, h_k = phi(z_k) what it puts out after it.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pima_hp.model.mlp import layer_shapes

CHUNK = 32
"""Networks that are diagnosed at a time, so that their numbers stay in the processor's cache."""

MOST_PARAMETERS = 1_000
"""Of a network whose Hessian is computed."""

N_BINS = 15
"""Of the calibration error, as in Guo et al. 2017."""

SATURATED: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Tanh: lambda h: h.abs() > 0.9,
    nn.Sigmoid: lambda h: (h < 0.05) | (h > 0.95),
}
"""Activation with two flat ends -> where its outputs are near one of them."""

ONE_SIDED = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU)
"""Activations that turn at 0: a unit may be on one side of it for all rows."""

Quantities = dict[str, Tensor]  # name -> (M,)
Rows = tuple[Tensor, Tensor]  # features (M, n, D), labels (M, n)


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
    parts = []
    for one, x, y, *held_out in zip(*(each.split(CHUNK) for each in (vectors, *train, *val)), strict=True):
        inputs, outputs, deltas = backpropagated(one, widths, activation, x, y)
        found = gradient_norms(inputs, deltas) | activity(outputs[:-1], activation)
        found["linear_r2"] = linear_r2(x, outputs[-1].squeeze(-1))
        found["calibration_error/train"] = calibration_error(outputs[-1].squeeze(-1), y)
        of_val = forward(one, widths, activation, held_out[0])[1][-1].squeeze(-1)
        found["calibration_error/val"] = calibration_error(of_val, held_out[1])
        if curvature:
            found |= gradient_noise(inputs, deltas)
            if one.shape[1] <= MOST_PARAMETERS:
                found |= hessian_ends(one, widths, activation, x, y)
        parts.append(found)
    return {name: torch.cat([found[name].double() for found in parts]) for name in parts[0]}


def layers_of(vectors: Tensor, widths: Sequence[int]) -> list[Tensor]:
    """Cut vectors (M, P) into weights (M, H, D) and biases (M, H), of the first layer, the second, ..."""
    shapes = [shape for fan_out, fan_in in layer_shapes(widths) for shape in ((fan_out, fan_in), (fan_out,))]
    pieces = vectors.split([math.prod(shape) for shape in shapes], dim=1)
    return [piece.view(-1, *shape) for piece, shape in zip(pieces, shapes, strict=True)]


def forward(
    vectors: Tensor, widths: Sequence[int], activation: nn.Module, features: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Return what goes into each layer, (M, B, D), and what it puts out before the activation, (M, B, H)."""
    layers, inputs, outputs = layers_of(vectors, widths), [features], list[Tensor]()
    for weight, bias in zip(layers[::2], layers[1::2], strict=True):
        if outputs:
            inputs.append(activation(outputs[-1]))
        outputs.append(torch.baddbmm(bias.unsqueeze(1), inputs[-1], weight.mT))
    return inputs, outputs


@torch.enable_grad()
def backpropagated(
    vectors: Tensor, widths: Sequence[int], activation: nn.Module, features: Tensor, labels: Tensor
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return inputs and outputs of each layer as `forward`, and the gradient of each row's loss by the outputs."""
    inputs, outputs = forward(vectors.detach().requires_grad_(), widths, activation, features)
    losses = F.binary_cross_entropy_with_logits(outputs[-1].squeeze(-1), labels, reduction="sum")
    deltas = torch.autograd.grad(losses, outputs)
    return [each.detach() for each in inputs], [each.detach() for each in outputs], [*deltas]


def gradient_norms(inputs: Sequence[Tensor], deltas: Sequence[Tensor]) -> Quantities:
    """Return the Frobenius norm of dL/dW of each layer, and that by the square root of its number of weights.

    Gradients that shrink from the last layer to the first vanish: Glorot, Bengio 2010, section 3.
    """
    found: Quantities = {}
    for k, (x, delta) in enumerate(zip(inputs, deltas, strict=True), 1):
        gradient = torch.bmm(delta.mT, x).flatten(1) / x.shape[1]  # (M, H * D)
        norm = torch.linalg.vector_norm(gradient, dim=1)
        found |= {f"gradient_norm/layer{k}": norm, f"gradient_rms/layer{k}": norm / math.sqrt(gradient.shape[1])}
    return found


def activity(outputs: Sequence[Tensor], activation: nn.Module) -> Quantities:
    """Return how the units of each hidden layer work: means over rows and units, shares of units.

    `slope`: mean of phi'(z) by the largest |phi'|, 1 where a layer passes gradients on undiminished. `saturation`:
    share of tanh outputs with |h| > 0.9, of sigmoid outputs below 0.05 or above 0.95 (Glorot, Bengio 2010). Of
    activations that turn at 0, the shares of units with z <= 0 on all rows, `dead_units` (of ReLU they pass no
    gradient), and with z > 0 on all rows, `always_on_units`, which are linear there (He et al. 2015).
    """
    kind: type[nn.Module] = type(activation)
    found: Quantities = {}
    for k, z in enumerate(outputs, 1):
        h, slope = _with_slope(activation, z)
        found[f"slope/layer{k}"] = slope.mean((1, 2)) / _largest_slope(activation)
        if kind in SATURATED:
            found[f"saturation/layer{k}"] = SATURATED[kind](h).to(h.dtype).mean((1, 2))
        if kind in ONE_SIDED:
            n_on = (z > 0).to(z.dtype).sum(1)  # rows, of each unit
            found[f"dead_units/layer{k}"] = (n_on == 0).to(z.dtype).mean(1)
            found[f"always_on_units/layer{k}"] = (n_on == z.shape[1]).to(z.dtype).mean(1)
    return found


def linear_r2(features: Tensor, logits: Tensor) -> Tensor:
    """Return R^2 of the least-squares regression of the logits on the features, (M,): is it just a linear model?

    With centered columns X of deviation 1 and centered logits t, R^2 = (X't)' (X'X)^+ (X't) / t't; a constant column
    counts nothing. NaN where the logits differ by rounding alone.
    """
    x, t = (each - each.mean(1, keepdim=True) for each in (features.double(), logits.double()))
    scale = x.square().mean(1, keepdim=True).sqrt()
    x = x / torch.where(scale > 0, scale, 1)
    projected = (x.mT @ t.unsqueeze(-1)).squeeze(-1)  # (M, D)
    inverse = torch.linalg.pinv((x.mT @ x).nan_to_num(), hermitian=True)
    total = t.square().sum(1)
    rounding = 10 * torch.finfo(logits.dtype).eps * logits.abs().amax(1).double()
    explained = torch.einsum("md,mde,me->m", projected, inverse, projected)
    return torch.where(total > rounding.square() * t.shape[1], explained / total, torch.nan)


def calibration_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the expected calibration error, (M,): sum over bins of n_b / n |share of positives - mean probability|.

    Bins: 15 of equal width, of the probability of the positive class (Naeini et al. 2015; Guo et al. 2017).
    """
    probabilities = logits.double().sigmoid()
    bins = (probabilities.nan_to_num() * N_BINS).long().clamp(max=N_BINS - 1)
    gaps = torch.zeros(len(logits), N_BINS, dtype=torch.float64, device=logits.device)
    return gaps.scatter_add(1, bins, labels.double() - probabilities).abs().sum(1) / labels.shape[1]


def gradient_noise(inputs: Sequence[Tensor], deltas: Sequence[Tensor]) -> Quantities:
    """Return the gradient noise scale tr(S) / |G|^2 in rows, and its parts, for averages before dividing.

    With g_i the gradient of row i by all parameters, and g their mean over the n rows, the estimators of McCandlish et
    al. 2018 (appendix A.1) for batches of 1 and of n rows are unbiased for rows drawn from a population:
    |G|^2 = (n |g|^2 - mean |g_i|^2) / (n - 1) and tr(S) = n (mean |g_i|^2 - |g|^2) / (n - 1).
    The scale is NaN where the estimate of |G|^2 is not positive. The gradient of a row by W is the outer product of its
    delta and its input (Goodfellow 2015), so |g_i|^2 needs no gradient of its own.
    """
    n, of_rows, of_mean = inputs[0].shape[1], torch.zeros(()), torch.zeros(())
    for x, delta in ((x.double(), delta.double()) for x, delta in zip(inputs, deltas, strict=True)):
        of_rows = of_rows + (delta.square().sum(2) * (x.square().sum(2) + 1)).mean(1)  # 1: of the bias
        gradients = torch.bmm(delta.mT, x).flatten(1), delta.sum(1)
        of_mean = of_mean + sum(each.square().sum(1) for each in gradients) / n**2
    squared, trace = (n * of_mean - of_rows) / (n - 1), n * (of_rows - of_mean) / (n - 1)
    scale = torch.where(squared > 0, trace / squared, torch.nan)
    return {"gradient_noise_scale": scale, "gradient_noise/trace": trace, "gradient_noise/squared_norm": squared}


@torch.enable_grad()
def hessian_ends(
    vectors: Tensor, widths: Sequence[int], activation: nn.Module, features: Tensor, labels: Tensor
) -> Quantities:
    """Return the largest and the smallest eigenvalue of the Hessian of L by all parameters, in double precision.

    The largest is the sharpness: gradient descent is unstable where it exceeds 2 / lr (Cohen et al. 2021). The adaptive
    methods' own limit is about the preconditioned Hessian, which weights alone do not give.
    """
    weights = vectors.detach().double().requires_grad_()
    logits = forward(weights, widths, activation, features.double())[1][-1].squeeze(-1)
    losses = F.binary_cross_entropy_with_logits(logits, labels.double(), reduction="none").mean(1)
    (gradients,) = torch.autograd.grad(losses.sum(), weights, create_graph=True)  # (M, P)
    rows = [torch.autograd.grad(column.sum(), weights, retain_graph=True)[0] for column in gradients.unbind(1)]
    hessian = torch.stack(rows, 1)  # (M, P, P): the networks do not depend on each other
    ends = torch.linalg.eigvalsh(hessian.nan_to_num())[:, [-1, 0]]
    ends = torch.where(hessian.isfinite().all(2).all(1, keepdim=True), ends, torch.nan).T
    return dict(zip(("hessian/largest", "hessian/smallest"), ends, strict=True))


def update_ratios(before: Tensor, after: Tensor, widths: Sequence[int]) -> Quantities:
    """Return |theta_k(e + 1) - theta_k(e)| / |theta_k(e)| of each layer, weights and biases, from (M, P) each."""
    moved, sizes = layers_of(after - before, widths), layers_of(before, widths)
    squares = [[each.double().flatten(1).square().sum(1) for each in pieces] for pieces in (moved, sizes)]
    layers = [[weight + bias for weight, bias in zip(of[::2], of[1::2], strict=True)] for of in squares]
    return {f"update_ratio/layer{k}": (a / b).sqrt() for k, (a, b) in enumerate(zip(*layers, strict=True), 1)}


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Return the Euclidean distance of weights (M, P) in double precision, (M,)."""
    return (one - other).double().square().sum(1).sqrt()


@torch.enable_grad()
def _with_slope(activation: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the activation at z and its derivative there."""
    z = z.detach().requires_grad_()
    h = activation(z)
    return h.detach(), torch.autograd.grad(h.sum(), z)[0]


def _largest_slope(activation: nn.Module) -> float:
    """Return the largest absolute derivative of an activation: of its values at z from -20 to 20 in steps of 0.001."""
    z = torch.arange(-20_000, 20_001, dtype=torch.float64) / 1000
    return float(_with_slope(activation, z)[1].abs().max())
