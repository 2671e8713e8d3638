"""pretrained: a net with its published weights as it is, asked without any training: `lamina ask imagenet photo.jpg`."""

from __future__ import annotations

from typing import Any

import torch

from lamina.core import device
from lamina.data._table import Field
from lamina.ship import _parcel
from lamina.tasks.classify import Classify
from lamina.train import evaluate, plan, weights


class Pretrained:
    """imagenet, or imagenet/SIZE: which of the 1,000 classes a photograph shows. Raises SettingError without the weights."""

    def __init__(self, name: str, wanted: str = "auto") -> None:
        source = weights.source(name)
        assert source.net is not None, "the published weights name their net"
        self.name, self.classes = source.name, source.classes
        self.inputs = (Field("image", "image", shape=source.shape),)
        self.task = Classify(Field("class", "label", self.classes), {})
        settings = {**source.settings, "channels": source.shape[0], "classes": len(self.classes), "stem": "large"}
        self.net = plan.net_of(source.net, settings)
        taken, _ = weights.fitting(source, self.net, source.net)
        weights.into(self.net, taken)
        self.net.to(device.choose(wanted)).eval()

    def ask(self, *sources: Any) -> Any:
        """Answers (core.answers) for a picture file, folder, table or array; a list unless one was asked. Raises DataError."""
        return _parcel.one_or_all(self.answers(*sources)[0])

    def answers(self, *sources: Any) -> evaluate.Asked:
        """(name of the picture, answer) in the order asked, and (where, why) of what could not be read. Raises DataError."""
        return evaluate.asked(self.task, self.net, self.inputs, *sources)

    @property
    def features(self) -> torch.nn.Module:
        """g, for other nets."""
        return self.net.get_submodule("features")

    def __repr__(self) -> str:
        return f"Pretrained({self.name!r})"
