"""classify: which label, or which labels, does a row have?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.data._table import TRAIN, Field, Table
from lamina.measures import labels, several_labels, temperature
from lamina.tasks._task import Batch, Task, inputs, mean_loss

RARE = 0.1  # a class under this share of an even one asks for weights


class Classify(Task):
    """One label (target kind label) or several (target kind labels) per row.

    options: "weights", a list of one loss weight per class, or None; "smoothing" in [0, 1): share of the target that is spread
    over all classes (Szegedy 2016, eq. 9); "mirror": pictures are answered from both mirrorings; "temperature" of the
    answered probabilities, fitted after training.
    """

    target_kind = ("label", "labels")
    net: ClassVar[dict[str, str]] = {
        "image": "resnet9",
        "row": "mlp",
        "both": "join",
        "text": "bag_of_words",
        "text_row": "bag_of_words",
    }

    def __init__(self, target: Field, options: dict[str, Any]) -> None:
        super().__init__(target, options)
        self.several = target.kind == "labels"
        self.measure = several_labels if self.several else labels
        self.threshold = several_labels.THRESHOLD if self.several else None
        self.better = "micro_f1" if self.several else "balanced_accuracy" if options.get("weights") else "accuracy"
        self._weights: Tensor | None = None

    @classmethod
    def choose(cls, table: Table) -> dict[str, Any]:
        """Class weights (balanced, mean 1 over rows) when a class is rarer than RARE of an even share."""
        column = table[table.target or ""].take(table.rows(TRAIN))
        if column.field.kind == "labels":
            return {"weights": None}
        count = np.bincount(column.values, minlength=len(column.field.classes))
        if count.min() >= RARE * count.mean():
            return {"weights": None}
        weights = count.sum() / (len(count) * np.maximum(count, 1))
        return {"weights": [round(float(w), 6) for w in np.sqrt(weights)]}

    @property
    def reasons(self) -> list[str]:
        if not self.options.get("weights"):
            return []
        return [
            f"Some classes of {self.target.name} are rare: they weigh more in the loss, and balanced accuracy chooses the best net."
        ]

    @property
    def outputs(self) -> int:
        return len(self.target.classes)

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        return mean_loss(net, batch, lambda logits, target: self._losses(net, logits, target))

    def _losses(self, net: nn.Module, logits: Tensor, target: Tensor) -> Tensor:
        """(rows, members) of logits (rows, classes) or (rows, members, classes): every member learns by its own loss."""
        if net.training and getattr(net, "loss_name", "") == "margin":
            return margin(logits, target if self.several else F.one_hot(target, logits.shape[1]))
        if logits.dim() == 3:
            target = target.repeat_interleave(logits.shape[1], 0)
        flat = logits.flatten(0, -2)
        if self.several:
            loss = F.binary_cross_entropy_with_logits(flat, target.to(logits.dtype), reduction="none").mean(1)
            return loss.view(len(logits), -1)
        weights = self.options.get("weights")
        if weights and (self._weights is None or self._weights.device != logits.device):
            self._weights = torch.tensor(weights, dtype=logits.dtype, device=logits.device)
        smoothing = self.options.get("smoothing", 0.0)
        loss = F.cross_entropy(flat, target, self._weights, label_smoothing=smoothing, reduction="none")
        return loss.view(len(logits), -1)

    def logs(self, net: nn.Module, batch: Batch) -> Tensor:
        """(rows, classes) logarithms of the probabilities of one label, exact where these are near 0 or 1.

        Of the mean over members, and over both mirrorings where options["mirror"] says so.
        """
        logs = _mean_logs(net(*inputs(net, batch)))
        if self.options.get("mirror") and "image" in batch:
            mirrored = _mean_logs(net(*inputs(net, {**batch, "image": batch["image"].flip(3)})))
            logs = torch.stack([logs, mirrored]).logsumexp(0) - math.log(2)
        by = self.options.get("temperature", 1.0)
        return logs if by == 1.0 else (logs / by).log_softmax(-1)

    def _probabilities(self, net: nn.Module, batch: Batch) -> Tensor:
        """(rows, classes)"""
        if not self.several:
            return self.logs(net, batch).exp()
        pictures = [batch]
        if self.options.get("mirror") and "image" in batch:
            pictures.append({**batch, "image": batch["image"].flip(3)})
        found = [net(*inputs(net, b)).float() for b in pictures]
        logits = torch.cat([z if z.dim() == 3 else z[:, None] for z in found], 1)  # (rows, members, classes)
        yes, no = F.logsigmoid(logits).logsumexp(1), F.logsigmoid(-logits).logsumexp(1)
        return ((yes - no) / self.options.get("temperature", 1.0)).sigmoid()

    def fitted(self, validated: Callable[[], dict[str, np.ndarray]]) -> dict[str, Any]:
        found = temperature.fit(validated())
        return {} if found == 1.0 else {"temperature": found}

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        probabilities, target = self._probabilities(net, batch), batch["target"]
        likely = probabilities.clamp(1e-7, 1 - 1e-7)
        if self.several:
            loss = F.binary_cross_entropy(likely, target.float(), reduction="none").mean(1)
        else:
            loss = F.nll_loss(likely.log(), target, reduction="none")
        return {"probabilities": probabilities, "target": target, "loss": loss}

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        return self.measure.finish(rows)

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        return self.measure.interval(rows, name, seed)

    def output(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"probabilities": self._probabilities(net, batch)}

    def graph(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        p = self._probabilities(net, batch)
        return {"probabilities": p, **({"chosen": p >= self.threshold} if self.threshold else {"answer": p.argmax(1)})}

    def loss_at_start(self) -> float | None:
        return float(np.log(2 if self.several else self.outputs))


def _mean_logs(logits: Tensor) -> Tensor:
    """Logits (rows, classes), or (rows, members, classes), to the logarithms (rows, classes) of the mean probabilities."""
    logs = logits.float().log_softmax(-1)
    return logs if logs.dim() == 2 else logs.logsumexp(1) - math.log(logs.shape[1])


def margin(logits: Tensor, wanted: Tensor) -> Tensor:
    """(rows,) of Sabour 2017, eq. 4 (arXiv:1710.09829): for nets whose `loss_name` is "margin", in training.

    The logits (rows, classes) are those of lengths in (0, 1): of wanted classes at least 0.9, of others at most 0.1.
    """
    length, wanted = logits.sigmoid(), wanted.to(logits.dtype)
    short, long = F.relu(0.9 - length) ** 2, F.relu(length - 0.1) ** 2
    return (wanted * short + 0.5 * (1 - wanted) * long).sum(1)
