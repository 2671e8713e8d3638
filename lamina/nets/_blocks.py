"""Pieces that three or more nets share, chosen by name: activations, normalisations, pooling, initialisations.

Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from lamina.core.errors import unknown


class _StepFunction(torch.autograd.Function):
    """Heaviside forward; backward the gradient of a hard tanh (straight-through, Bengio 2013, arXiv:1308.3432)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1)


class Step(nn.Module):
    """1 where x >= 0, else 0 (Rosenblatt 1958), with a straight-through gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return _StepFunction.apply(x)  # type: ignore[return-value]


class ScaledTanh(nn.Module):
    """1.7159 tanh(2/3 x) (LeCun 1989): f(1) = 1, f(-1) = -1, most curved at +-1."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "step": Step,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "scaled_tanh": ScaledTanh,
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.01),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
    "hard_sigmoid": nn.Hardsigmoid,
    "none": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """An activation by name. Raises NameUnknown with the nearest name."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()


class BatchRenorm(nn.Module):
    """Batch renormalisation of (B, C, ...) over B and space (Ioffe 2017, arXiv:1702.03275, algorithm 1).

    Training uses batch statistics corrected towards the running ones by r and d, which open from (1, 0) to
    (<= 3, <= 5) over the first `opening` batches.
    """

    running_mean: Tensor
    running_std: Tensor
    batches: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.01, opening: int = 1000) -> None:
        super().__init__()
        self.eps, self.momentum, self.opening = eps, momentum, opening
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_std", torch.ones(channels))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.dim() - 2)
        if self.training:
            axes = [0, *range(2, x.dim())]
            mean = x.mean(axes)
            std = (x.var(axes, unbiased=False) + self.eps).sqrt()
            opened = (self.batches / self.opening).clamp(max=1.0)
            r_max, d_max = 1 + 2 * opened, 5 * opened
            r = torch.minimum(torch.maximum(std.detach() / self.running_std, 1 / r_max), r_max)
            d = torch.minimum(torch.maximum((mean.detach() - self.running_mean) / self.running_std, -d_max), d_max)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_std.lerp_(std, self.momentum)
                self.batches += 1
            x = (x - mean.view(shape)) / std.view(shape) * r.view(shape) + d.view(shape)
        else:
            x = (x - self.running_mean.view(shape)) / self.running_std.view(shape)
        return x * self.weight.view(shape) + self.bias.view(shape)


class ChannelNorm(nn.GroupNorm):
    """Layer normalisation of (B, C, ...): over all channels and positions of one example (Ba 2016, arXiv:1607.06450)."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)


NORMS = ("batch", "layer", "instance", "group", "weight", "batch_renorm", "none")


def norm(name: str, channels: int, dims: int = 2) -> nn.Module:
    """A normalisation of (B, channels, ...) by name; `dims` counts the axes of space (0 for vectors, 2 for pictures).

    "weight" normalises weights, not values: `weighted` applies it and this returns an identity.
    """
    if name not in NORMS:
        raise unknown("normalisation", name, NORMS)
    if name == "batch":
        return nn.BatchNorm2d(channels) if dims == 2 else nn.BatchNorm1d(channels)
    if name == "group":
        return nn.GroupNorm(math.gcd(32, channels), channels)
    if name == "instance":
        return nn.GroupNorm(channels, channels)  # over the positions of one channel; same as InstanceNorm with weights
    return {"layer": ChannelNorm, "batch_renorm": BatchRenorm}.get(name, lambda _: nn.Identity())(channels)


def weighted(layer: nn.Module, norm_name: str) -> nn.Module:
    """The layer, its weight split into length and direction when norm_name is "weight" (Salimans 2016)."""
    return weight_norm(layer) if norm_name == "weight" else layer


POOLS = ("max", "average")


def pool(name: str, size: int = 2, stride: int | None = None, padding: int = 0) -> nn.Module:
    """Pooling over windows of size x size, by name."""
    if name not in POOLS:
        raise unknown("pooling", name, POOLS)
    return (nn.MaxPool2d if name == "max" else nn.AvgPool2d)(size, stride, padding)


def response() -> nn.LocalResponseNorm:
    """Local response normalisation over 5 neighbouring channels (Krizhevsky 2012, section 3.3)."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)


class ConvNorm(nn.Sequential):
    """x (B, c_in, H, W) -> convolution, normalisation, activation; at stride 1 an odd `size` keeps the side.

    `norm_name` and `act` are names of this file; only a convolution without normalisation has a bias. `groups` equal to
    c_in is a depthwise convolution.
    """

    def __init__(
        self, c_in: int, c_out: int, size: int, stride: int = 1, *, groups: int = 1, norm_name: str = "batch",
        act: str = "relu", padding: int | None = None, conv: type[nn.Conv2d] = nn.Conv2d,
    ) -> None:  # fmt: skip
        padding = size // 2 if padding is None else padding
        bias = norm_name in ("none", "weight")
        layers = [weighted(conv(c_in, c_out, size, stride, padding, groups=groups, bias=bias), norm_name)]
        layers += [norm(norm_name, c_out)] if not bias else []
        super().__init__(*layers, *([activation(act)] if act != "none" else []))


class SqueezeExcite(nn.Module):
    """x (B, C, H, W) times a gate in (0, 1) per channel, made from the means over the picture (Hu 2017, arXiv:1709.01507)."""

    def __init__(self, channels: int, squeezed: int, act: str = "relu", gate: str = "sigmoid") -> None:
        super().__init__()
        self.squeeze, self.act = nn.Linear(channels, squeezed), activation(act)
        self.excite, self.gate = nn.Linear(squeezed, channels), activation(gate)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.permute(0, 2, 3, 1).flatten(1, 2).mean(1)  # its gradient lies as x does: twice as fast as mean((2, 3))
        gates = self.gate(self.excite(self.act(self.squeeze(mean))))  # (B, C)
        return x * gates[:, :, None, None]


class _Dropped(torch.autograd.Function):
    """x with a share of its numbers zero and the others as much larger; the places come from a quarter of the draws of torch's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:  # type: ignore[override]
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.int16)[: x.numel()] >= round(share * 65_536) - 32_768
        factor = kept.view(x.shape).to(x.dtype).div_(1 - share)
        ctx.save_for_backward(factor)
        return x * factor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad * ctx.saved_tensors[0], None


class Dropout(nn.Dropout):
    """x of any shape, a share p of it zero in training (Srivastava 2014, https://jmlr.org/papers/v15/srivastava14a.html).

    On processors in half the time of torch's, whose generator takes 5 ns a number; p is exact to 1/65,536.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p or x.device.type != "cpu" or not x.requires_grad:
            return super().forward(x)
        return _Dropped.apply(x, self.p)  # type: ignore[return-value]


class DropPath(nn.Module):
    """Zero for a share of the rows in training, the others grown to keep the mean (Huang 2016, arXiv:1603.09382)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share:
            return x
        kept = torch.rand(len(x), *[1] * (x.dim() - 1), device=x.device) >= self.share
        return x * kept.to(x.dtype) / (1 - self.share)


class Grid(nn.Module):
    """x (B, C, H, W) -> (B, C, side, side), means over even parts; x itself where it has that size."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        return x if x.shape[2:] == (self.side, self.side) else nn.functional.adaptive_avg_pool2d(x, self.side)


def dense(width: int, grid: int, hidden: int, classes: int, dropout: float, act: str = "relu") -> nn.Sequential:
    """x (B, width, H, W) -> (B, classes): two hidden layers over a grid x grid picture (Krizhevsky 2012, section 3.5)."""
    flat = width * grid * grid
    layers = [nn.Dropout(dropout), nn.Linear(flat, hidden), activation(act)]
    layers += [nn.Dropout(dropout), nn.Linear(hidden, hidden), activation(act)]
    made = nn.Sequential(Grid(grid), nn.Flatten(), *layers, nn.Linear(hidden, classes))
    initialise(made[:-1], "lecun", RELU)
    return made


STEMS = ("small", "half", "large")


def stem_for(image: Sequence[int], small: int, half: int) -> str:
    """The stem that suits a picture (channels, height, width): small or half up to so many pixels of its shorter side."""
    side = min(image[1:])
    return "small" if side <= small else "half" if side <= half else "large"


def checked_stem(name: str) -> str:
    """The name of a stem. Raises NameUnknown with the nearest name."""
    if name not in STEMS:
        raise unknown("stem", name, STEMS)
    return name


INITS = ("he", "glorot", "lecun", "orthogonal", "normal")
RELU = math.sqrt(2)  # gain of "lecun" that keeps the variance of what passes through relu (He 2015, eq. 10)


def initialise(net: nn.Module, name: str, gain: float = 1.0) -> None:
    """Draw the weights of every linear and convolution layer anew; biases become 0.

    he: He 2015 (fan out, ReLU); glorot: Glorot 2010; lecun: variance 1 / fan in; orthogonal: Saxe 2013; normal: std 0.01.
    """
    if name not in INITS:
        raise unknown("initialisation", name, INITS)
    draw: dict[str, Callable[[Tensor], Tensor]] = {
        "he": lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu").mul_(gain),
        "glorot": lambda w: nn.init.xavier_uniform_(w, gain),
        "lecun": lambda w: nn.init.normal_(w, std=gain / math.sqrt(w[0].numel())),
        "orthogonal": lambda w: nn.init.orthogonal_(w, gain),
        "normal": lambda w: nn.init.normal_(w, std=0.01 * gain),
    }
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            with torch.no_grad():
                draw[name](module.weight)
                if module.bias is not None:
                    module.bias.zero_()


class Features(nn.Sequential):
    """g of a net: layers that end in `width` channels, (B, width) or (B, width, H, W); other nets build on it."""

    def __init__(self, *layers: nn.Module, width: int) -> None:
        super().__init__(*layers)
        self.width = width


class Standardize(nn.Module):
    """(x - mean) / std per channel: the input's normalisation as a part of the net, fitted once on training data."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Set the statistics; a channel that does not vary is only centred."""
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)
