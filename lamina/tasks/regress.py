"""regress: which number does a row have?"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from lamina.data._table import TRAIN, Table
from lamina.measures import numbers
from lamina.tasks._task import Batch, Task, inputs, mean_loss

SKEWED = 1.0  # a positive target of larger skewness is learned as its logarithm


class Regress(Task):
    """A number per row, learned standardised, so that one learning rate serves prices and probabilities.

    options: "log", "mean", "std" of the (logarithm of the) target over the training rows, "low" and "high", its range:
    answers leave it by at most an eighth of its width.
    """

    better = "rmse"
    lower_is_better = True
    target_kind = ("number",)
    net: ClassVar[dict[str, str]] = {
        "image": "resnet9",
        "row": "mlp",
        "both": "join",
        "text": "bag_of_words",
        "text_row": "bag_of_words",
    }

    @classmethod
    def choose(cls, table: Table) -> dict[str, Any]:
        values = table[table.target or ""].values[table.rows(TRAIN)]
        log = bool(
            values.min() > 0 and _skewness(values) > SKEWED and abs(_skewness(np.log(values))) < _skewness(values)
        )
        scaled = np.log(values) if log else values
        spread = float(scaled.std()) or 1.0
        return {
            "log": log,
            "mean": float(scaled.mean()),
            "std": spread,
            "low": float(scaled.min()),
            "high": float(scaled.max()),
        }

    @property
    def reasons(self) -> list[str]:
        return [f"{self.target.name} is positive and skewed: its logarithm is learned."] if self.options["log"] else []

    @property
    def outputs(self) -> int:
        return 1

    def _scaled(self, target: Tensor) -> Tensor:
        target = target.clamp(min=1e-30).log() if self.options["log"] else target
        return ((target - self.options["mean"]) / self.options["std"]).float()

    def _value(self, output: Tensor) -> Tensor:
        beyond = (self.options["high"] - self.options["low"]) / 8
        value = output.double() * self.options["std"] + self.options["mean"]
        value = value.clamp(self.options["low"] - beyond, self.options["high"] + beyond)
        return value.exp() if self.options["log"] else value

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        def losses(output: Tensor, target: Tensor) -> Tensor:
            return (output.view(len(target), -1) - self._scaled(target)[:, None]) ** 2  # (rows, members)

        return mean_loss(net, batch, losses)

    def _output(self, net: nn.Module, batch: Batch) -> Tensor:
        output = net(*inputs(net, batch)).squeeze(-1)
        return output.mean(1) if output.dim() == 2 else output

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        output = self._output(net, batch)
        loss = (output - self._scaled(batch["target"])) ** 2
        return {"answer": self._value(output), "target": batch["target"], "loss": loss}

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        return numbers.finish(rows)

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        return numbers.interval(rows, name, seed)

    def output(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"answer": self._value(self._output(net, batch))}

    def loss_at_start(self) -> float | None:
        return 1.0  # the variance of a standardised target


def _skewness(values: np.ndarray) -> float:
    spread = values.std()
    return float((((values - values.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0
