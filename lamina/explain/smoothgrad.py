"""smoothgrad: saliency averaged over noisy copies of the picture. Smilkov 2017, https://arxiv.org/abs/1706.03825

The mean of the gradients over pictures with added normal noise, whose standard deviation is a share of the picture's range
(section 3: 10 to 20 %, and little gain beyond 50 copies); of the channels the largest magnitude.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from lamina.core.check import within
from lamina.explain import _draw
from lamina.explain._method import Explanation, Question, about, array, needs_image, score_gradient
from lamina.explain._taps import untouched
from lamina.tasks._task import Batch, Task


@dataclass(frozen=True)
class Config:
    """How the noise is made."""

    samples: int = 50
    """noisy copies"""
    noise: float = 0.15
    """standard deviation of the noise, as a share of the difference between the largest and the smallest pixel"""


def explain(task: Task, net: nn.Module, batch: Batch, question: Question, config: Config) -> Explanation:
    """heat (height, width) >= 0: largest |mean of the gradients| of the channels; gradient (channels, height, width): that mean.

    In score per full range of a pixel (0 to 1). Raises SettingError without a picture and for settings out of range.
    """
    image = needs_image("smoothgrad", batch)
    within("samples", config.samples, 1, 10_000)
    within("noise", config.noise, 0, 1)
    with untouched(net) as inner:
        what = about(task, inner, batch, question)
        generator = torch.Generator().manual_seed(question.seed)
        noise = torch.randn(config.samples, *image.shape[1:], generator=generator).to(image.device)
        spread = config.noise * (image.max() - image.min())
        gradient = score_gradient(task, inner, batch, image + spread * noise, what.output)[0].mean(0)
    heat = array(gradient.abs().amax(0))
    said = _draw.Heat(
        f"saliency for {what.name}, the mean over {config.samples} noisy copies",
        "score per full range of a pixel",
    )
    picture = _draw.heat(array(image[0]), heat, f"SmoothGrad: {what}", said)
    return Explanation(
        "smoothgrad", str(what), {"heat": heat, "gradient": array(gradient)}, picture, _draw.strongest(heat)
    )
