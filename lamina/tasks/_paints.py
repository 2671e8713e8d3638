"""The ways of paint: what is asked of the net, what it is compared with, and what its output means as a picture.

Each way prepares a batch (pairs are made where the data brings none), gives losses, and turns outputs into pictures
(B, C, H, W) in [0, 1], or values in units of the target. Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.data._augment import uniform
from lamina.measures import pictures
from lamina.tasks import _colour
from lamina.tasks._task import Batch

EDGE = 1e-3  # below which the absolute loss is round (Charbonnier 1994, https://doi.org/10.1109/ICIP.1994.413553)
RESIDUAL = 0.1  # of what the net gives is added to what it was given: training begins near that
HARD_ERROR = 1.25  # depths within this factor count as right (Eigen 2014)


class Way:
    """What the ways share; `made` says that pairs are made from photographs."""

    better, lower = "psnr", False
    measures: tuple[str, ...] = ("psnr", "ssim")
    output_name = "picture"
    made = True
    net, shorter = "unet", 288
    """net that is taken when none is named; pixels that the shorter side of photographs is made before they are cut"""
    hints: dict[str, Any] = {}  # noqa: RUF012  # settings of the net

    def __init__(self, options: dict[str, Any], channels: int) -> None:
        self.options, self.channels = options, channels
        self.outputs = channels

    def prepare(self, batch: Batch) -> Batch:
        """Stored values (0 to 255) -> what the net takes; targets in [0, 1]."""
        found = {**batch, "image": batch["image"].float() / 255}
        if "target" in batch:
            found["target"] = batch["target"].float() / 255
        return found

    def losses(self, output: Tensor, batch: Batch) -> Tensor:
        """(B,) of a prepared batch."""
        apart = self.value(output, batch, False) - batch["target"]
        if self.options["loss"] == "square":
            return 100 * (apart**2).flatten(1).mean(1)
        return 10 * ((apart**2 + EDGE**2).sqrt() - EDGE).flatten(1).mean(1)

    def value(self, output: Tensor, batch: Batch, cut: bool = True) -> Tensor:
        """The picture: what the net adds to what it was given, where both have the same channels."""
        image = batch["image"]
        if output.shape[2:] != image.shape[2:]:
            output = F.interpolate(output, image.shape[2:], mode="bilinear", align_corners=False)
        made = RESIDUAL * output + image if image.shape[1] == self.channels else output + 0.5
        return made.clamp(0, 1) if cut else made

    def statistics(self, value: Tensor, batch: Batch) -> dict[str, Tensor]:
        """(B,) or (B, n) of what `finish` needs."""
        return {"psnr": pictures.psnr(value, batch["target"]), "ssim": pictures.ssim(value, batch["target"])}

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        return pictures.finish(rows, self.measures)

    def simple(self, batch: Batch) -> dict[str, Tensor]:
        """Name -> value of answers that need no learning, for a prepared batch."""
        return {"as it is": batch["image"]} if batch["image"].shape[1] == self.channels else {}

    def told(self, rows: dict[str, np.ndarray], i: int) -> str:
        return f"PSNR {rows['psnr'][i]:.1f} dB"


class Pairs(Way):
    """Target pictures that come with the data."""

    made = False


class Larger(Way):
    """Super-resolution: the photograph made smaller and enlarged by bicubic interpolation; the net adds what was lost.

    Dong 2014 (https://arxiv.org/abs/1501.00092), as a residual (Kim 2015, https://arxiv.org/abs/1511.04587).
    """

    net = "edsr"

    def __init__(self, options: dict[str, Any], channels: int) -> None:
        super().__init__(options, channels)
        self.hints = {"fold": options["times"], "stem": "half", "norm": "none"}

    def prepare(self, batch: Batch) -> Batch:
        times = self.options["times"]
        image = batch["image"].float()
        if "target" in batch:
            image = batch["target"].float()
            small = [n // times for n in image.shape[2:]]
            image = (
                F.interpolate(image, small, mode="bicubic", antialias=True, align_corners=False).round().clamp(0, 255)
            )
        image = F.interpolate(image, scale_factor=times, mode="bicubic", align_corners=False).clamp(0, 255) / 255
        found = {**batch, "image": image}
        return {**found, "target": batch["target"].float() / 255} if "target" in batch else found

    def simple(self, batch: Batch) -> dict[str, Tensor]:
        return {"bicubic": batch["image"]}


class Clean(Way):
    """Denoising: Gaussian noise on the photograph, drawn anew for each pass (Zhang 2016, https://arxiv.org/abs/1608.03981)."""

    hints = {"stem": "small", "width": 16, "depth": 2, "norm": "none"}  # noqa: RUF012

    def noisy(self, image: Tensor, seed: int, passes: Tensor, rows: Tensor) -> Tensor:
        """image (B, C, H, W) of 0 to 255 -> with noise, rounded to whole levels; keyed like augmentation."""
        count = image[0].numel()
        radius, angle = uniform(seed + 1, passes, rows, 2 * count).chunk(2, 1)  # Box and Muller 1958
        normal = (-2 * (1 - radius).log()).sqrt() * torch.cos(2 * torch.pi * angle)
        return (image.float() + self.options["noise"] * normal.view(image.shape)).round().clamp(0, 255)

    def prepare(self, batch: Batch) -> Batch:
        if "target" in batch and "noisy" not in batch:  # scoring: keyed by what is in the picture
            key = batch["target"].long().flatten(1).sum(1)
            batch = {**batch, "image": self.noisy(batch["target"], 0, torch.zeros_like(key), key)}
        return super().prepare({k: v for k, v in batch.items() if k != "noisy"})

    def simple(self, batch: Batch) -> dict[str, Tensor]:
        image = F.pad(batch["image"], (1, 1, 1, 1), "replicate")
        windows = image.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
        return {
            "as it is": batch["image"],
            "mean of 3x3 pixels": windows.mean(4),
            "median of 3x3 pixels": windows.median(4)[0],
        }


class Colour(Way):
    """The colours of a grey photograph: classes of quantised ab with rebalancing, or the square loss on ab (see _colour)."""

    better = "balanced_auc"
    measures = ("psnr",)
    shorter = 144
    hints = {"reduce": 4, "width": 24, "depth": 4}  # noqa: RUF012

    def __init__(self, options: dict[str, Any], channels: int) -> None:
        super().__init__(options, channels)
        self.bins = torch.tensor(options["bins"], dtype=torch.float32).view(-1, 2)
        self.weights = torch.tensor(options["bin_weights"], dtype=torch.float32)
        self.square = options["loss"] == "square"
        self.outputs = 2 if self.square else len(self.bins)

    def prepare(self, batch: Batch) -> Batch:
        found = dict(batch)
        if "target" in batch:
            found["target"] = batch["target"].float() / 255
            found["lab"] = _colour.to_lab(found["target"])
        light = found["lab"][:, :1] if "lab" in found else _colour.to_lab(_three(batch["image"].float() / 255))[:, :1]
        found["light"] = light
        found["image"] = (light / 100).expand(-1, batch["image"].shape[1], -1, -1)
        return found

    def losses(self, output: Tensor, batch: Batch) -> Tensor:
        ab = batch["lab"][:, 1:]
        ab = ab if ab.shape[2:] == output.shape[2:] else F.adaptive_avg_pool2d(ab, (output.shape[2], output.shape[3]))
        if self.square:
            return ((50 * output - ab) ** 2).flatten(1).mean(1) / 500
        return _colour.class_losses(output, ab, self.bins.to(output.device), self.weights.to(output.device))

    def _ab(self, output: Tensor, batch: Batch) -> Tensor:
        ab = 50 * output if self.square else _colour.decoded(output, self.bins.to(output.device))
        return F.interpolate(ab, batch["light"].shape[2:], mode="bilinear", align_corners=False)

    def value(self, output: Tensor, batch: Batch, cut: bool = True) -> Tensor:
        return _colour.to_rgb(torch.cat([batch["light"], self._ab(output, batch)], 1))

    def statistics(self, value: Tensor, batch: Batch) -> dict[str, Tensor]:
        answer, ab = _colour.to_lab(value)[:, 1:], batch["lab"][:, 1:]
        bins, weights = self.bins.to(ab.device), self.weights.to(ab.device)
        nearest = _colour.nearest(ab, bins)
        plain, balanced = _colour.errors_by_threshold(answer, ab, weights[nearest])
        return {
            "psnr": pictures.psnr(value, batch["target"]),
            "auc_of_row": plain.mean(1),
            "balanced_of_row": balanced.mean(1),
            "weight_of_row": weights[nearest].flatten(1).sum(1),
            "chroma": _colour.chroma(answer),
            "true_chroma": _colour.chroma(ab),
        }

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        share = rows["weight_of_row"] / rows["weight_of_row"].sum()
        return {
            "balanced_auc": float((rows["balanced_of_row"] * share).sum()),
            "auc": float(rows["auc_of_row"].mean()),
            "psnr": float(rows["psnr"].mean()),
            "colourfulness": float(rows["chroma"].mean() / max(1e-9, float(rows["true_chroma"].mean()))),
        }

    def simple(self, batch: Batch) -> dict[str, Tensor]:
        mean = torch.tensor(self.options["mean_ab"]).to(batch["light"])
        flat = [torch.zeros_like(mean), mean]
        made = [
            _colour.to_rgb(
                torch.cat(
                    [batch["light"], c.view(1, 2, 1, 1).expand(len(batch["light"]), 2, *batch["light"].shape[2:])], 1
                )
            )
            for c in flat
        ]
        return {"grey": made[0], "the mean colour": made[1]}

    def told(self, rows: dict[str, np.ndarray], i: int) -> str:
        return f"colours within reach {100 * rows['auc_of_row'][i]:.0f} %, PSNR {rows['psnr'][i]:.1f} dB"


class Values(Way):
    """A map of values such as depth, learned standardised, as its logarithm where all values are above 0; 0 and NaN are unknown."""

    better, lower = "absolute_relative_error", True
    measures = ("absolute_relative_error", "within_25_percent", "rmse")
    output_name = "values"
    made = False

    def prepare(self, batch: Batch) -> Batch:
        found = {**batch, "image": batch["image"].float() / 255}
        if "target" in batch:
            found["target"] = batch["target"].float()
        return found

    def losses(self, output: Tensor, batch: Batch) -> Tensor:
        target = batch["target"]
        if output.shape[2:] != target.shape[2:]:
            output = F.interpolate(output, target.shape[2:], mode="bilinear", align_corners=False)
        known = target > 0
        wanted = target.where(known, 1.0)
        wanted = (wanted.log() if self.options["log"] else wanted) - self.options["mean"]
        apart = output - wanted / self.options["std"]
        apart = (apart**2 if self.options["loss"] == "square" else apart.abs()).where(known, 0.0)
        return apart.flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)

    def value(self, output: Tensor, batch: Batch, cut: bool = True) -> Tensor:
        made = output.float() * self.options["std"] + self.options["mean"]
        made = made.clamp(self.options["low"], self.options["high"])
        return made.exp() if self.options["log"] else made

    def statistics(self, value: Tensor, batch: Batch) -> dict[str, Tensor]:
        target = batch["target"]
        known, count = target > 0, (target > 0).flatten(1).sum(1).clamp(min=1)
        ratio = torch.maximum(value / target, target / value.clamp(min=1e-6)).where(known, torch.inf)
        square = ((value - target) ** 2).where(known, 0.0)
        return {
            "absolute_relative_error": pictures.relative_error(value, target),
            "within_25_percent": (ratio < HARD_ERROR).flatten(1).sum(1) / count,
            "rmse": (square.flatten(1).sum(1) / count).sqrt(),
        }

    def simple(self, batch: Batch) -> dict[str, Tensor]:
        return {"the mean everywhere": torch.full_like(batch["target"], self.options["mean_value"])}

    def told(self, rows: dict[str, np.ndarray], i: int) -> str:
        return f"absolute relative error {rows['absolute_relative_error'][i]:.3f}"


def _three(image: Tensor) -> Tensor:
    return image if image.shape[1] == 3 else image.expand(-1, 3, -1, -1)


WAYS: dict[str, type[Way]] = {
    "pairs": Pairs, "depth": Values, "colour": Colour, "super2": Larger, "super4": Larger, "denoise": Clean,
}  # fmt: skip
