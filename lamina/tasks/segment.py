"""segment: which class has each pixel of a picture?"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core import _drawn
from lamina.data._batches import Batches
from lamina.data._table import IGNORE, TRAIN, Table
from lamina.measures import masks
from lamina.tasks._dense import Dense, highest, seen
from lamina.tasks._task import Batch, inputs, whole_loss

LOOKED = 400  # training masks that classes are counted on
SIDE = 64  # pixels of them
RAREST = 1e-3  # share of the pixels below which a class weighs no more than at it
STRONGEST = 10.0  # times the weight of the commonest class


class Segment(Dense):
    """A class per pixel (target kind mask); pixels of no known class are neither learned nor counted.

    options: "pixel_weights", one per class: the root of how rare its pixels are, mean 1 over the pixels; "shares": of the pixels of each
    class in training masks.
    """

    better = "mean_iou"
    target_kind = ("mask",)
    question = "which class has each pixel?"
    net: ClassVar[dict[str, str]] = {"image": "unet"}

    @classmethod
    def choose(cls, table: Table) -> dict[str, Any]:
        column, rows = table[table.target or ""], table.rows(TRAIN)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, LOOKED).astype(int))]
        packed = column.values.take(rows).pack((1, SIDE, SIDE), None, "stretch")
        count = np.bincount(packed.reshape(-1), minlength=256)[: len(column.field.classes)].astype(np.float64)
        shares = count / max(1, count.sum())
        weights = 1 / np.sqrt(np.maximum(shares, RAREST))
        weights = np.minimum(weights, STRONGEST * weights.min())
        weights /= max(1e-12, (weights * shares).sum())
        return {"pixel_weights": [round(float(w), 6) for w in weights], "shares": [round(float(s), 6) for s in shares]}

    @property
    def outputs(self) -> int:
        return len(self.target.classes)

    def _losses(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        """(rows,) mean loss over the known pixels; logits (rows, classes, height, width), target (rows, height, width)."""
        if logits.shape[2:] != target.shape[1:]:
            logits = F.interpolate(logits, target.shape[1:], mode="bilinear", align_corners=False)
        target = target.long()
        loss = F.cross_entropy(logits, target, weights, ignore_index=IGNORE, reduction="none").flatten(1).sum(1)
        return loss / (target != IGNORE).flatten(1).sum(1).clamp(min=1)

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        weights = torch.tensor(self.options["pixel_weights"], device=batch["image"].device)
        return whole_loss(
            net, net(*inputs(net, batch)), lambda logits: self._losses(logits, batch["target"], weights).mean()
        )

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits, target = net(*inputs(net, batch)).float(), batch["target"]
        return {**self.scored({"mask": logits}, batch), "loss": self._losses(logits, target, None)}

    def scored(self, output: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        target = batch["target"]
        answer = self._codes(output["mask"], target)
        found = [self._confusion(t, a) for t, a in zip(target.cpu().numpy(), answer.cpu().numpy(), strict=True)]
        return {"confusion": torch.from_numpy(np.stack(found)), "loss": torch.zeros(len(target))}

    @staticmethod
    def _codes(logits: Tensor, target: Tensor) -> Tensor:
        if logits.shape[2:] != target.shape[1:]:
            logits = F.interpolate(logits, target.shape[1:], mode="bilinear", align_corners=False)
        return highest(logits)

    def _confusion(self, target: np.ndarray, answer: np.ndarray) -> np.ndarray:
        return masks.confusion(target, answer, self.outputs)

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        return masks.finish(rows, self.target.classes)

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        return masks.interval(rows, name, self.target.classes, seed)

    def output(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"mask": self.exact(net, batch)["mask"].half()}

    def exact(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"mask": net(*inputs(net, batch)).float().softmax(1)}

    def loss_at_start(self) -> float | None:
        return float(np.log(self.outputs))

    def told(self, rows: dict[str, np.ndarray], i: int) -> dict[str, Any]:
        matrix = rows["confusion"][i]
        there = matrix.sum(1)
        names = [self.target.classes[int(c)] for c in np.argsort(-there, kind="stable") if there[c]]
        return {
            "target": ", ".join(names[:4]),
            "answer": f"mean IoU {100 * masks.mean_overlap(matrix):.0f} %, {100 * masks.right(matrix):.0f} % of the pixels right",
        }

    def constant(self, train: Batches, test: Batches) -> float | None:
        commonest = int(np.argmax(self.options["shares"]))
        return self._of_answers(lambda target: np.full_like(target, commonest), test)

    def baselines(self, train: Batches, validation: Batches, test: Batches) -> dict[str, float] | None:
        count = 0
        for start in range(0, len(train), 256):
            target = train.slice(start, start + 256)["target"].cpu()
            count = count + torch.stack([(target == c).sum(0) for c in range(self.outputs)])
        usual = np.asarray(count.argmax(0).to(torch.uint8))  # type: ignore[union-attr]
        return {
            "always the same": self.constant(train, test) or 0.0,
            "the usual class of each place": self._of_answers(lambda _: usual, test),
        }

    def _of_answers(self, answer: Any, test: Batches) -> float:
        found = []
        for start in range(0, len(test), 256):
            targets = test.slice(start, start + 256)["target"].cpu().numpy()
            found += [self._confusion(t, answer(t)) for t in targets]
        return self.finish({"confusion": np.stack(found)})[self.better]

    @property
    def reasons(self) -> list[str]:
        weights, shares = self.options["pixel_weights"], self.options["shares"]
        rare = int(np.argmin(shares))
        return (
            [
                f"Rare classes weigh more in the loss: {self.target.classes[rare]} has {100 * shares[rare]:.2g} % of the pixels, "
                f"each with the weight {weights[rare]:.2g}."
            ]
            if weights[rare] > 1.5
            else []
        )

    def seen(self, batch: Batch) -> list[list[np.ndarray]]:
        table = _drawn.colours(self.outputs)
        pairs = zip(batch["image"], batch["target"].cpu().numpy(), strict=True)
        return [[_drawn.three(seen(image / 255)), table[target]] for image, target in pairs]

    def shown(self, net: nn.Module, batch: Batch) -> list[list[np.ndarray]]:
        codes = self._codes(net(*inputs(net, batch)).float(), batch["target"]).cpu().numpy()
        made, table = [], _drawn.colours(self.outputs)
        for image, target, answer in zip(batch["image"], batch["target"].cpu().numpy(), codes, strict=True):
            made.append([_drawn.three(seen(image)), table[target], table[answer]])
        return made
