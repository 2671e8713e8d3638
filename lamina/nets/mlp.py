"""Multi-layer net for table rows: back-propagation (Rumelhart 1986), an ensemble that shares its weights (TabM, Gorishniy 2024).

https://doi.org/10.1038/323533a0 and https://arxiv.org/abs/2410.24210: each member sees the inputs through its own signs and
answers by its own last layer. Members that share nothing are a deep ensemble (https://arxiv.org/abs/1612.01474): one product
trains all of them. Letters: B batch, M members, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.core.check import within
from lamina.core.errors import SettingError
from lamina.nets._blocks import Features, activation, norm
from lamina.nets._row import RowEncoder

TAKES = ("numbers", "categories")
SIZES: dict[str, dict] = {
    "small": {"width": 32, "members": 1},
    "medium": {"width": 128, "members": 8},
    "large": {"width": 512, "members": 16},
}


@dataclass(frozen=True)
class Config:
    """Sizes of a multi-layer net."""

    classes: int = 2
    """outputs"""
    numbers: int = 4
    """numeric inputs; a picture counts its pixels"""
    categories: tuple[int, ...] = ()
    """categories of each categorical input"""
    width: int = 128
    """units of each hidden layer"""
    depth: int = 2
    """hidden layers"""
    members: int = 8
    """nets whose answers are averaged"""
    shared: bool = True
    """members share the hidden layers (TabM); else each has its own: a deep ensemble (Lakshminarayanan 2016)"""
    dropout: float = 0.2
    """share of the hidden units dropped in training"""
    activation: str = "relu"
    """step sigmoid tanh scaled_tanh relu leaky_relu gelu silu none"""
    norm: str = "none"
    """batch layer none: normalisation of the hidden layers"""
    ranked: bool = True
    """numbers enter as normal scores of their rank, not as standardised values"""
    unknown: float = 0.02
    """share of the categories made unknown in training"""


class Adapter(nn.Module):
    """x (B, inputs) -> (B, M, inputs): each member's own signs, +-1 at first."""

    decays = False

    def __init__(self, members: int, inputs: int) -> None:
        super().__init__()
        self.signs = nn.Parameter(torch.randint(0, 2, (members, inputs)).float() * 2 - 1)

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1) * self.signs


class MemberLinear(nn.Module):
    """x (B, M, inputs) or (B, inputs) -> (B, M, outputs): a linear layer per member, all in one product."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:  # all members see the same: one product of (B, inputs) and (inputs, M * outputs)
            members, inputs, outputs = self.weight.shape
            wide = self.weight.transpose(0, 1).reshape(inputs, members * outputs)
            return torch.addmm(self.bias.flatten(), x, wide).view(-1, members, outputs)
        return torch.baddbmm(self.bias.unsqueeze(1), x.transpose(0, 1), self.weight).transpose(0, 1)


def _norm(config: Config) -> nn.Module:
    if config.norm == "layer":
        return nn.LayerNorm(config.width)
    if config.norm != "none" and config.members > 1:
        raise SettingError(
            f"net.norm (={config.norm}) must be layer or none with net.members (={config.members}) above 1."
        )
    return norm(config.norm, config.width, dims=0)


class Net(nn.Module):
    """numbers (batch, numbers) float, NaN = missing; categories (batch, columns) int64, -1 = missing -> logits.

    Logits are (batch, members, classes), or (batch, classes) with one member. Raises SettingError.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        within("net.dropout", config.dropout, 0, 0.95)
        within("net.depth", config.depth, 1, 100)
        within("net.members", config.members, 1, 1024)
        self.members = config.members
        self.row = RowEncoder(config.numbers, config.categories, ranked=config.ranked, unknown=config.unknown)
        ensemble = config.members > 1 and not config.shared
        adapted = config.members > 1 and config.shared
        self.adapter = Adapter(config.members, self.row.width) if adapted else nn.Identity()
        layers: list[nn.Module] = []
        width = self.row.width
        for _ in range(config.depth):
            layers += [
                MemberLinear(config.members, width, config.width) if ensemble else nn.Linear(width, config.width),
                _norm(config),
                activation(config.activation),
                nn.Dropout(config.dropout),
            ]
            width = config.width
        self.features = Features(*layers, width=width)
        self.classifier = (
            MemberLinear(config.members, width, config.classes)
            if config.members > 1
            else nn.Linear(width, config.classes)
        )

    def forward(self, numbers: Tensor | None, categories: Tensor | None = None) -> Tensor:
        x = self.adapter(self.row(numbers, categories))  # (B, M, inputs)
        return self.classifier(self.features(x))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"numbers": torch.randn(3, 4)}, (3, 8, 2)
