"""The nets of the speed bench in plain PyTorch, shared by all peers that are built on it.

Cnn: Keras' example for MNIST. ResNet20: He 2015, section 4.2 (https://arxiv.org/abs/1512.03385), with 1x1 shortcuts.
ResNet18: the layers of torchvision's resnet18. Mlp: 10-64-64-1. Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Cnn(nn.Module):
    """image (B, 1, 28, 28) -> logits (B, 10)"""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.dense1, self.dense2 = nn.Linear(64 * 12 * 12, 128), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))  # (B, 32, 26, 26)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # (B, 64, 12, 12)
        return self.dense2(F.relu(self.dense1(x.flatten(1))))


class TunedCnn(Cnn):
    """The same function: ReLU after the pooling (they commute) and a flattening that copies nothing in channels_last."""

    def __init__(self) -> None:
        super().__init__()
        weight = self.dense1.weight.detach().view(128, 64, 12, 12)
        self.dense1.weight.data = weight.permute(0, 2, 3, 1).flatten(1).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))  # (B, 32, 26, 26)
        x = F.relu(F.max_pool2d(self.conv2(x), 2))  # (B, 64, 12, 12)
        return self.dense2(F.relu(self.dense1(x.permute(0, 2, 3, 1).flatten(1))))


class Block(nn.Module):
    """x -> relu(shortcut(x) + residual(x)), two 3x3 convolutions."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out)
        self.conv2, self.norm2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(self.shortcut(x) + residual)


class ResNet(nn.Module):
    """image (B, 3, H, W) -> logits (B, classes); stages of blocks, each after the first at half the side."""

    def __init__(self, stem: nn.Module, width: int, blocks: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.stem = stem
        layers, c_in = [], width
        for stage, count in enumerate(blocks):
            for number in range(count):
                layers.append(Block(c_in, width * 2**stage, 2 if stage and number == 0 else 1))
                c_in = width * 2**stage
        self.blocks = nn.Sequential(*layers)
        self.dense = nn.Linear(c_in, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))  # (B, C, H, W)
        return self.dense(x.mean((2, 3)))


class Mlp(nn.Module):
    """x (B, 10) -> y (B, 1)"""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def net_of(work: str, classes: int, tuned: bool = False) -> nn.Module:
    """The net of the work with the weights of seed 0."""
    torch.manual_seed(0)
    if work == "cnn":
        return TunedCnn() if tuned else Cnn()
    if work == "mlp":
        return Mlp()
    if work == "resnet20":
        stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        return ResNet(stem, 16, (3, 3, 3), classes)
    conv = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    stem = nn.Sequential(conv, nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return ResNet(stem, 64, (2, 2, 2, 2), classes)


def loss_of(work: str) -> nn.Module:
    """Squared error for numbers, cross-entropy for pictures."""
    return nn.MSELoss() if work == "mlp" else nn.CrossEntropyLoss()


def optimizer_of(work: str, net: nn.Module, fused: bool | None = None) -> torch.optim.Optimizer:
    """Adam for cnn and mlp, stochastic gradient descent with Nesterov's momentum for the residual nets."""
    if work in ("cnn", "mlp"):
        return torch.optim.Adam(net.parameters(), lr=1e-3, fused=fused)
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=fused)
