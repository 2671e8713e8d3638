"""A trunk: g of any image net, by its name, for nets that build on it: its normalisation of the picture and its features.

What the net answers with is dropped, so that its weights are neither trained nor saved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core import catalog
from lamina.core.errors import SettingError, unknown


class Trunk(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> features (batch, width, rows, columns), which pass as they are.

    `name` is a net with `features`, with or without a size: resnet9, "resnet/20". Raises NameUnknown, and SettingError for
    a net whose features are not a map.
    """

    def __init__(self, name: str, shape: Sequence[int]) -> None:
        super().__init__()
        net = catalog.find("nets", name.partition("/")[0])
        if tuple(getattr(net, "TAKES", ())) != ("image",):
            raise SettingError(f"net.features (={name}) must be a net that takes pictures; try resnet9.")
        made = net.Net(net.Config(**settings(name, shape)))
        if not hasattr(made, "features") or not hasattr(made, "standardize"):
            raise SettingError(f"net.features (={name}) must be a net with features of its own; try resnet9.")
        self.standardize: nn.Module = made.standardize
        self.features: nn.Module = made.features
        self.width, self.grid = _probe(self.standardize, self.features, name, shape)

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[1:] == (self.width, *self.grid):
            return image
        return self.features(self.standardize(image))


def settings(name: str, shape: Sequence[int]) -> dict[str, Any]:
    """What suits pictures of this size, as settings of the net's Config. Raises NameUnknown for a size that is not there."""
    base, _, size = name.partition("/")
    module = catalog.find("nets", base)
    if size and size not in module.SIZES:
        raise unknown(f"size of {base}", size, module.SIZES)
    known = module.Config.__dataclass_fields__
    made: dict[str, Any] = {k: v for k, v in {"channels": shape[0], "side": shape[1]}.items() if k in known}
    made |= dict(module.SIZES[size]) if size else {}
    if base == "resnet9" and not size:  # stages until 8 pixels or fewer are left, as the plan chooses them
        more = max(0, math.ceil(math.log2(min(shape[1:]) / 40)))
        made["stages"] = (32, 64, *(64 * 2 ** (i + 1) for i in range(more)))
    suited = getattr(module, "suited", None)
    return made | (suited(tuple(shape), made) if suited else {})


@torch.no_grad()
def _probe(standardize: nn.Module, features: nn.Module, name: str, shape: Sequence[int]) -> tuple[int, tuple[int, int]]:
    """Width and grid of the features of one picture."""
    mode = features.training
    weight = next(features.parameters(), torch.zeros(0))
    features.eval()
    given = features(standardize(torch.zeros(1, *shape, device=weight.device)))
    features.train(mode)
    if given.dim() != 4:
        raise SettingError(
            f"net.features (={name}) gives {given.dim() - 1} axes a picture where a map is needed; try resnet9."
        )
    return given.shape[1], (given.shape[2], given.shape[3])
