"""saliency: how much the score of a class would change with each pixel. Simonyan 2013, https://arxiv.org/abs/1312.6034

The derivative of the score with respect to the picture; of the channels the largest magnitude (section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lamina.explain import _draw
from lamina.explain._method import Explanation, Question, about, array, needs_image, score_gradient
from lamina.explain._taps import untouched
from lamina.tasks._task import Batch, Task


@dataclass(frozen=True)
class Config:
    """Nothing can be set."""


def explain(task: Task, net: nn.Module, batch: Batch, question: Question, config: Config) -> Explanation:
    """heat (height, width) >= 0: largest |d score / d pixel| of the channels; gradient (channels, height, width).

    In score per full range of a pixel (0 to 1). Raises SettingError without a picture.
    """
    image = needs_image("saliency", batch)
    with untouched(net) as inner:
        what = about(task, inner, batch, question)
        gradient = score_gradient(task, inner, batch, image, what.output)[0][0]
    heat = array(gradient.abs().amax(0))
    said = _draw.Heat(
        f"pixels whose change would change the score of {what.name} most", "score per full range of a pixel"
    )
    picture = _draw.heat(array(image[0]), heat, f"Saliency: {what}", said)
    return Explanation(
        "saliency", str(what), {"heat": heat, "gradient": array(gradient)}, picture, _draw.strongest(heat)
    )
