"""The g of any image net as a pyramid: its last features of each size, from which detectors and the like answer.

Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lamina.core import catalog
from lamina.core.errors import SettingError
from lamina.nets._trunk import settings

FURTHER = 256  # channels at most of features that are made behind the net


def normed(c_in: int, c_out: int, size: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    conv = nn.Conv2d(c_in, c_out, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


class Pyramid(nn.Module):
    """image (B, channels, H, W) float in [0, 1] -> features (B, width, H / stride, W / stride) for each stride, finest first.

    name: NET or NET/SIZE of an image net; its input normalisation and its features are taken, its classifier is not. Strides that
    the net does not reach are made behind it: 1x1 to half as many channels, 3x3 of stride 2 (Liu 2015, figure 2). Raises SettingError for a net without such features.
    """

    def __init__(self, name: str, channels: int, side: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        net = image_net(name, channels, side)
        self.standardize, self.strides = net.standardize, strides
        seen = _sizes(net, channels, side)
        last: dict[int, tuple[int, int]] = {}
        for i, (width, height) in enumerate(seen):
            if height and side % height == 0:
                last[side // height] = (i, width)  # a later one of the same stride is deeper
        known = [s for s in strides if s in last]
        if not known or known != list(strides[: len(known)]):
            raise SettingError(
                f"{name} has features at strides {sorted(last)} of {side} pixels, not at {strides}; try another net."
            )
        self.places, self.widths = [last[s][0] for s in known], [last[s][1] for s in known]
        self.sizes = [(last[s][1], side // s) for s in known]
        self.features = nn.Sequential(*list(net.features)[: self.places[-1] + 1])
        further = []
        for _ in strides[len(known) :]:
            wide = min(self.widths[-1], FURTHER)
            further.append(nn.Sequential(normed(self.widths[-1], wide // 2, 1), normed(wide // 2, wide, 3, 2)))
            self.widths.append(wide)
        self.further = nn.ModuleList(further)

    def forward(self, image: Tensor) -> list[Tensor]:
        found = self._features(image) if image.dim() == 4 else self._apart(image)
        for layer in self.further:
            found.append(layer(found[-1]))
        return found

    def flat(self, image: Tensor) -> Tensor:
        """image (B, channels, H, W) -> (B, numbers): the features of the net, of all sizes, as `forward` takes them in place of pictures."""
        return torch.cat([x.flatten(1) for x in self._features(image)], 1)

    def _features(self, image: Tensor) -> list[Tensor]:
        x, found = self.standardize(image), []
        for i, layer in enumerate(self.features.children()):
            x = layer(x)
            if i in self.places:
                found.append(x)
        return found

    def _apart(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([width * side * side for width, side in self.sizes], 1)
        return [x.view(-1, width, side, side) for x, (width, side) in zip(parts, self.sizes, strict=True)]


def image_net(name: str, channels: int, side: int) -> Any:
    """An image net by NET or NET/SIZE for pictures of this shape. Raises LaminaError."""
    net = name.partition("/")[0]
    module = catalog.find("nets", net)
    if module.TAKES != ("image",):
        raise SettingError(f"{net} takes no pictures; features come from an image net such as resnet9/long.")
    made = module.Net(module.Config(**settings(name, (channels, side, side))))
    if not isinstance(getattr(made, "features", None), nn.Sequential):
        raise SettingError(f"{net} has no features in a row that others can build on; try resnet9/long.")
    return made


@torch.no_grad()
def _sizes(net: Any, channels: int, side: int) -> list[tuple[int, int]]:
    """Channels and height behind each layer of the features; (0, 0) where there is no picture any more."""
    training = net.training
    net.eval()
    x, found = torch.zeros(1, channels, side, side), []
    x = net.standardize(x)
    for layer in net.features.children():
        x = layer(x)
        found.append((x.shape[1], x.shape[2]) if x.dim() == 4 else (0, 0))
    net.train(training)
    return found
