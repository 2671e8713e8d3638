"""detect: which objects are in a picture, and where?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lamina.core.answers import Boxes, boxes_of
from lamina.data._augment import Augment, moved_boxes
from lamina.data._batches import Batches
from lamina.data._table import Field
from lamina.measures import boxes as measure
from lamina.tasks._task import Batch, Task, inputs

SAID = 0.35  # score from which a box is an answer, until one is chosen on the validation rows; the measure looks at all


class Detect(Task):
    """A box around every object of a class that is known.

    The net is a detector: `losses(output, objects)` (B,), and `found(output)` (B, most, 6), x0 y0 x1 y1 score class.
    """

    better = "map"
    target_kind = ("boxes",)
    whole = True
    answers, weights = "boxes", "imagenet"
    question = "Which objects are in a picture, and where?"
    side: ClassVar[int] = 128
    net: ClassVar[dict[str, str]] = {"image": "yolo"}
    recipe: ClassVar[dict[str, Any]] = {
        "augment": "flip+crop", "batch": 16, "lr": 0.02, "smoothing": 0.0, "optimizer": "muon",
    }  # fmt: skip

    def __init__(self, target: Field, options: dict[str, Any]) -> None:
        super().__init__(target, options)
        self.threshold: float = options.get("said", SAID)

    def fitted(self, validated: Callable[[], dict[str, np.ndarray]]) -> dict[str, Any]:
        """ "said": the score from which on boxes are said, where that finds most and invents least on the validation rows."""
        best = measure.threshold(validated())
        return {} if best is None else {"said": best}

    @property
    def outputs(self) -> int:
        return len(self.target.classes)

    def change(self, batch: Batch, augment: Augment, seed: int, passes: Tensor, rows: Tensor) -> Batch:
        image = batch["image"]
        changed = {**batch, "image": augment(image, seed, passes, rows)}
        if augment.moves:
            source = augment.source(image.shape[2], image.shape[3], seed, passes, rows)
            changed["target"] = moved_boxes(batch["target"], source)
        return changed

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        return net.losses(net(*inputs(net, batch)), batch["target"]).mean()  # type: ignore[operator]

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        output = net(*inputs(net, batch))
        loss = net.losses(output, batch["target"])  # type: ignore[operator]
        return {**self.scored({"boxes": net.found(output)}, batch), "loss": loss}  # type: ignore[operator]

    def scored(self, output: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        rows = super().scored(output, batch)
        return {**rows, "size": batch["size"]} if "size" in batch else rows

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        return measure.finish(rows, self.target.classes)

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        return measure.interval(rows, name, seed, self.target.classes)

    def output(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"boxes": net.found(net(*inputs(net, batch)))}  # type: ignore[operator]

    def seen(self, batch: Batch) -> list[list[np.ndarray]]:
        pixels = batch["image"].round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return [[self._said(b).draw(p)] for p, b in zip(pixels, batch["target"].cpu().numpy(), strict=True)]

    def _said(self, target: np.ndarray) -> Boxes:
        """True boxes (most, 5) as an answer."""
        true = target[target[:, 4] >= 0]
        return boxes_of(np.insert(true, 4, 1.0, 1), self.target.classes, self.threshold)

    def told(self, rows: dict[str, np.ndarray], i: int) -> dict[str, Any]:
        said = self._said(rows["target"][i]), boxes_of(rows["boxes"][i], self.target.classes, self.threshold)
        return {
            "target": list(said[0].chosen),
            "answer": list(said[1].chosen),
            "marks": {name: s.to_json()["boxes"] for name, s in zip(("target", "answer"), said, strict=True)},
        }

    def constant(self, train: Batches, test: Batches) -> float:
        """Of the commonest place of each class, answered for every picture."""
        objects = train.tensors["target"].flatten(0, 1).cpu()
        places = []
        for code in range(self.outputs):
            own = objects[objects[:, 4] == code]
            if len(own):
                share = min(1.0, len(own) / len(train))
                places.append([*own[:, :4].median(0).values.tolist(), share, code])
        boxes = torch.tensor(places).view(-1, 6).expand(len(test), -1, 6)
        kept = {k: test.tensors[k].cpu().numpy() for k in ("target", "size") if k in test.tensors}
        return measure.finish({"boxes": boxes.numpy(), "loss": np.zeros(len(test)), **kept})[self.better]

    def baselines(self, train: Batches, validation: Batches, test: Batches) -> dict[str, float]:
        return {"always the same": self.constant(train, test)}
