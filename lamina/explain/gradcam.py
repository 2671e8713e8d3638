"""gradcam: where the last maps of the net hold evidence for a class. Selvaraju 2016, https://arxiv.org/abs/1610.02391

Each channel of the last map is weighed by the mean of the score's gradient over its positions (eq. 1); of the weighed sum the positive
part is the heat (eq. 2). The last map is found by running the net: the last output of `features` that has height and width, or of
any layer where `features` has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from lamina.core.errors import SettingError
from lamina.explain import _draw
from lamina.explain._method import Explanation, Question, about, array, mirrored, needs_image, scores
from lamina.explain._taps import last_map, recording, untouched
from lamina.tasks._task import Batch, Task


@dataclass(frozen=True)
class Config:
    """Nothing can be set."""


def explain(task: Task, net: nn.Module, batch: Batch, question: Question, config: Config) -> Explanation:
    """heat (height, width) >= 0, as large as the picture; cam (rows, columns) >= 0, as large as the map. In units of the score.

    Raises SettingError without a picture, and for a net without a map.
    """
    image = needs_image("gradcam", batch)
    with untouched(net) as inner:
        what = about(task, inner, batch, question)
        features = getattr(inner, "features", None)
        with recording(inner) as seen:
            score = scores(task, inner, {**batch, "image": image.clone().requires_grad_()})[0, what.output]
        found = last_map(seen, features if isinstance(features, nn.Module) else None)
        if found is None:
            raise SettingError(
                "gradcam needs a layer that gives height and width, and this net has none; try saliency."
            )
        gradient = torch.autograd.grad(score, found.given, allow_unused=True)[0]
        if gradient is None:
            raise SettingError(f"gradcam: the answer does not depend on the map of layer {found.name}; try saliency.")
        weights = gradient.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        cam = (weights * found.given.detach()).sum(1, keepdim=True)  # (B, 1, rows, columns)
    if mirrored(task, batch):
        straight, turned = cam.chunk(2)
        cam = straight + turned.flip(3)
    cam = cam.relu()
    heat = F.interpolate(cam.float(), image.shape[2:], mode="bilinear", align_corners=False)[0, 0]
    said = _draw.Heat(f"where the net sees {what.name} (map of {cam.shape[2]}x{cam.shape[3]})", "evidence", smooth=True)
    picture = _draw.heat(array(image[0]), array(heat), f"Grad-CAM: {what}", said)
    summary = _draw.strongest(array(heat)) if float(cam.max()) > 0 else f"No place speaks for {what.name}."
    return Explanation("gradcam", str(what), {"heat": array(heat), "cam": array(cam[0, 0])}, picture, summary)
