"""Vision transformer: a picture is a sentence of patches. Dosovitskiy 2020, https://arxiv.org/abs/2010.11929

tiny and small are those of Touvron 2020 (https://arxiv.org/abs/2012.12877), base is the paper's; they answer from a token of
its own. Without a size it is six layers of 96 channels that answer from the mean over the patches (Beyer 2022,
https://arxiv.org/abs/2205.01580). Letters: B batch, N patches, D width, H height, W width in patches, P pixels of a patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.check import divides, within
from lamina.core.errors import unknown
from lamina.nets._attention import looking
from lamina.nets._blocks import Dropout, DropPath, Standardize, initialise

TAKES = ("image",)
SIZES: dict[str, dict] = {
    "tiny": {"width": 192, "depth": 12, "heads": 3, "pool": "token", "patch": 16, "grid": 14},
    "small": {"width": 384, "depth": 12, "heads": 6, "pool": "token", "patch": 16, "grid": 14},
    "base": {"width": 768, "depth": 12, "heads": 12, "pool": "token", "patch": 16, "grid": 14},
}
POOLS = ("mean", "token")


@dataclass(frozen=True)
class Config:
    """Sizes of a vision transformer."""

    classes: int = 10
    """outputs"""
    channels: int = 3
    """channels of the picture"""
    patch: int = 4
    """pixels of a patch's side"""
    grid: int = 8
    """patches along a side for which positions are learned; other grids are interpolated"""
    width: int = 96
    """numbers that stand for a patch"""
    depth: int = 6
    """layers, each attention and two dense ones"""
    heads: int = 3
    """attentions beside each other; they share the width"""
    ratio: int = 4
    """units of the dense layers are the width times this"""
    pool: str = "mean"
    """the answer comes from the mean of the patches or from a token of its own: mean token"""
    dropout: float = 0.0
    """share dropped after attention and dense layers"""
    drop_path: float = 0.0
    """share of the rows that skip the last layer in training; less for earlier ones"""


def suited(image: tuple[int, ...], wished: dict[str, Any]) -> dict[str, Any]:
    """Settings for pictures (channels, height, width), whatever the size: 7 to 14 patches along a side."""
    side = min(image[1:])
    patch = wished.get("patch") or (4 if side <= 48 else 8 if side <= 112 else 16)
    return {"patch": patch, "grid": -(-side // patch)}


class Attention(nn.Module):
    """x (B, N, D) -> (B, N, D): every place asks all others (Vaswani 2017, section 3.2.2)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ask, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        query, key, value = self.ask(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        x = looking(query, key, value)  # (B, heads, N, D / heads)
        return self.out(x.transpose(1, 2).reshape(b, n, d))


class Layer(nn.Module):
    """x (B, N, D) -> (B, N, D): x + attention, then x + dense layers, each of the normalised x (eqs. 2 and 3)."""

    def __init__(self, config: Config, dropped: float) -> None:
        super().__init__()
        width, inner = config.width, config.width * config.ratio
        self.attention = nn.Sequential(
            nn.LayerNorm(width, 1e-6), Attention(width, config.heads), Dropout(config.dropout), DropPath(dropped)
        )
        self.dense = nn.Sequential(
            nn.LayerNorm(width, 1e-6), nn.Linear(width, inner), nn.GELU(), Dropout(config.dropout),
            nn.Linear(inner, width), Dropout(config.dropout), DropPath(dropped),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.dense(x)


class Places(nn.Module):
    """What is added to each patch for its place, and the token that answers, if there is one."""

    decays = False

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.grid, tokens = config.grid, int(config.pool == "token")
        self.place = nn.Parameter(0.02 * torch.randn(tokens + config.grid**2, config.width))
        self.token = nn.Parameter(torch.zeros(1, config.width)) if tokens else None

    def forward(self, x: Tensor) -> Tensor:
        b, d, h, w = x.shape
        of_patches = self.place[-(self.grid**2) :]
        if (h, w) != (self.grid, self.grid):
            square = of_patches.T.reshape(1, d, self.grid, self.grid)
            of_patches = F.interpolate(square, (h, w), mode="bicubic", align_corners=False)[0].flatten(1).T
        x = x.flatten(2).transpose(1, 2) + of_patches  # (B, N, D)
        return x if self.token is None else torch.cat([(self.token + self.place[:1]).expand(b, 1, d), x], 1)


class Patches(nn.Module):
    """x (B, C, P H, P W) -> (B, D, H, W): patches after all layers; `tokens` gives (B, N, D), the answering token first.

    A picture that the patches do not divide is filled up with its mean below and right.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.width = config.width
        self.embed = nn.Conv2d(config.channels, config.width, config.patch, config.patch)
        self.places = Places(config)
        drops = [config.drop_path * i / max(1, config.depth - 1) for i in range(config.depth)]
        self.layers = nn.Sequential(*(Layer(config, dropped) for dropped in drops))
        self.norm = nn.LayerNorm(config.width, 1e-6)

    def _embedded(self, x: Tensor) -> Tensor:
        patch = self.embed.stride[0]
        below, right = -x.shape[2] % patch, -x.shape[3] % patch
        return self.embed(F.pad(x, (0, right, 0, below)) if below or right else x)  # (B, D, H, W)

    def tokens(self, x: Tensor) -> Tensor:
        return self.norm(self.layers(self.places(self._embedded(x))))

    def forward(self, x: Tensor) -> Tensor:
        patch = self.embed.stride[0]
        h, w = -(-x.shape[2] // patch), -(-x.shape[3] // patch)
        return self.tokens(x)[:, -h * w :].transpose(1, 2).reshape(len(x), self.width, h, w)


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> logits (batch, classes). Any height and width.

    Raises SettingError, or NameUnknown for a pool that does not exist.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        for name, low, high in (
            ("dropout", 0, 0.95),
            ("drop_path", 0, 0.95),
            ("patch", 2, 256),
            ("grid", 1, 256),
            ("depth", 1, 200),
        ):
            within(f"net.{name}", getattr(config, name), low, high)
        divides("net.heads", config.heads, "net.width", config.width)
        if config.pool not in POOLS:
            raise unknown("pooling", config.pool, POOLS)
        self.from_token = config.pool == "token"
        self.standardize = Standardize(config.channels)
        self.features = Patches(config)
        initialise(self.features, "glorot")
        self.classifier = nn.Linear(config.width, config.classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.standardize(image)
        if self.from_token:
            return self.classifier(self.features.tokens(x)[:, 0])
        return self.classifier(self.features(x).mean((2, 3)))


def example() -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Inputs by name and the shape of the output for the default config."""
    return {"image": torch.rand(2, 3, 32, 32)}, (2, 10)
