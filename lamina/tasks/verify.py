"""verify: do two pictures show the same? Told by a learned distance, and on identities that training never saw.

Taigman 2014 (DeepFace, https://doi.org/10.1109/CVPR.2014.220), Schroff 2015 (https://arxiv.org/abs/1503.03832).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core.answers import Same
from lamina.core.errors import SettingError
from lamina.data._augment import Augment
from lamina.data._batches import Batches
from lamina.data._table import TRAIN, Table
from lamina.measures import pairs
from lamina.tasks._task import Batch, Task

APART = 1.0  # distance that contrastive wants between different pictures (points lie on a sphere: at most 2)
MARGIN, SCALE = 0.2, 16.0  # of the cosine (Wang 2018, eq. 4)
BETWEEN = 0.2  # by how much the hardest different one shall be farther than the hardest same one
SMALL = 16  # pixels at which the baselines compare pictures
CURVE = 200  # points of the ROC that are kept


class Verify(Task):
    """The same or not, for two pictures, by the distance of their points.

    options: "identities", how many training pairs show. The target (rows, 2) holds whom the two pictures show.
    """

    better = "eer"
    lower_is_better = True
    target_kind = ("same",)
    pictures = 2
    question = "Do two pictures show the same?"
    net: ClassVar[dict[str, str]] = {"image": "embedding"}
    recipe: ClassVar[dict[str, Any]] = {"smoothing": 0.0}

    @classmethod
    def choose(cls, table: Table) -> dict[str, Any]:
        codes = table[table.target or ""].values[table.rows(TRAIN)]
        return {"identities": int(codes.max()) + 1}

    @property
    def outputs(self) -> int:
        return self.options["identities"]

    def prepare(self, batch: Batch, training: bool) -> Batch:
        return {**batch, **{k: batch[k].float() / 255 for k in ("image", "image 2") if k in batch}}

    def change(self, batch: Batch, augment: Augment, seed: int, passes: Tensor, rows: Tensor) -> Batch:
        if augment.mixes:
            raise SettingError("mixup and cutmix blend pictures; two that are compared cannot be blended with others.")
        second = augment(batch["image 2"], seed + 1_000_003, passes, rows)  # by draws of its own
        return {**batch, "image": augment(batch["image"], seed, passes, rows), "image 2": second}

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        points = net(torch.cat([batch["image"], batch["image 2"]]))  # (2B, D)
        who = batch["target"].T.reshape(-1)  # (2B,)
        name = getattr(net, "loss_name", "contrastive") if net.training else "contrastive"
        if name == "margin" and not hasattr(net, "centres"):
            raise SettingError("net.loss (=margin) needs named identities; try --net.loss triplet.")
        if name == "margin":
            return margin(net.centres(points), who)  # type: ignore[operator]
        return triplet(points, who) if name == "triplet" else contrastive(points, who)

    def _distance(self, net: nn.Module, batch: Batch) -> Tensor:
        points, rows = net(torch.cat([batch["image"], batch["image 2"]])).float(), len(batch["image"])
        return (points[:rows] - points[rows:]).norm(dim=1)

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        distance = self._distance(net, batch)
        return self.scored({"distance": distance, "threshold": _threshold(net).expand(len(distance))}, batch)

    def scored(self, output: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        distance, limit, who = output["distance"], output["threshold"], batch["target"]
        same = who[:, 0] == who[:, 1]
        loss = torch.where(same, distance**2, (APART - distance).clamp(min=0) ** 2)
        wrong = torch.where(same, distance - limit, limit - distance)
        found = {"distance": distance, "target": same.long(), "who": who, "threshold": limit, "loss": loss}
        return {**found, "wrong": wrong}

    def settle(self, net: nn.Module, rows: dict[str, np.ndarray]) -> None:
        """The threshold that is best on the validation pairs becomes the net's."""
        limit = np.float32(pairs.threshold(rows))
        with torch.no_grad():
            _threshold(net).fill_(float(limit))
        rows["threshold"] = np.full(len(rows["distance"]), limit)

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        return pairs.finish(rows)

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        return pairs.interval(rows, name, seed)

    def output(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        distance = self._distance(net, batch)
        return {"distance": distance, "threshold": _threshold(net).expand(len(distance)).clone()}

    def graph(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        found = self.output(net, batch)
        return {**found, "answer": (found["distance"] <= found["threshold"]).long()}

    def told(self, rows: dict[str, np.ndarray], i: int) -> dict[str, Any]:
        """What is said of a pair in the report; the distance in units of the threshold is how wrong it is."""
        answer = Same(float(rows["distance"][i]), float(rows["threshold"][i]))
        wanted = "same" if rows["target"][i] else "different"
        return {"target": wanted, "answer": answer.chosen[0], "said": f"distance {answer.distance:.2f}"}

    def curves(self, rows: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        """The ROC."""
        _, accepts, found = pairs.roc(rows)
        kept = np.unique(np.linspace(0, len(accepts) - 1, min(CURVE, len(accepts))).astype(int))
        here = pairs.finish(rows)
        return [
            {
                "title": "Same pairs found against different pairs accepted (ROC)",
                "x": "different pairs accepted",
                "y": "same pairs found",
                "percent": True,
                "lines": [{"name": "test", "x": accepts[kept].tolist(), "y": found[kept].tolist()}],
                "mark": [here["false_accepts"], 1 - here["false_rejects"], "threshold"],
                "about": "Moving the threshold from strict to lenient. The mark is the threshold that was chosen on validation "
                "pairs; the curve of a net that guesses is the diagonal.",
            }
        ]

    def baselines(self, train: Batches, validation: Batches, test: Batches) -> dict[str, float]:
        """Distances that need no learning: of the pixels, of the mean colours."""
        pixels, colours, who = [], [], test.tensors["target"].cpu().numpy()
        for start in range(0, len(test), 256):
            part = test.slice(start, start + 256)
            small = [F.adaptive_avg_pool2d(part[k].float(), SMALL).flatten(1) for k in ("image", "image 2")]
            unit = [F.normalize(s - s.mean(1, keepdim=True), dim=1) for s in small]
            mean = [part[k].float().mean((2, 3)) for k in ("image", "image 2")]
            pixels.append((unit[0] - unit[1]).norm(dim=1).cpu().numpy())
            colours.append((mean[0] - mean[1]).norm(dim=1).cpu().numpy())
        found = {"a coin": 0.5}
        for name, distance in (("pixels", np.concatenate(pixels)), ("mean colour", np.concatenate(colours))):
            rows = {"distance": distance, "target": who[:, 0] == who[:, 1], "threshold": distance}
            found[name] = pairs.finish(rows)[self.better]
        return found

    def constant(self, train: Batches, test: Batches) -> float:
        return 0.5


def _threshold(net: nn.Module) -> Tensor:
    """The net's threshold. Raises SettingError for a net that has none."""
    inner = getattr(net, "_orig_mod", net)
    if not isinstance(getattr(inner, "threshold", None), Tensor):
        raise SettingError("verify needs a net that gives points and keeps a threshold; try --net embedding.")
    return inner.threshold  # type: ignore[return-value]


def _compared(points: Tensor, who: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distances (N, N) of all pictures of a batch, where two are the same, and where they are different."""
    square = (2 - 2 * points @ points.T).clamp(min=1e-9)
    same = who[:, None] == who[None, :]
    return square, same & ~torch.eye(len(who), dtype=torch.bool, device=who.device), ~same


def contrastive(points: Tensor, who: Tensor) -> Tensor:
    """Hadsell 2006, eq. 4, over all pairs of the batch: d^2 of the same, max(0, APART - d)^2 of different ones, each as a mean."""
    square, same, different = _compared(points, who)
    near = (square * same).sum() / same.sum().clamp(min=1)
    far = ((APART - square.sqrt()).clamp(min=0) ** 2 * different).sum() / different.sum().clamp(min=1)
    return near + far


def triplet(points: Tensor, who: Tensor) -> Tensor:
    """Hermans 2017, eq. 5: the farthest same one against the nearest different one of the batch, softly."""
    square, same, different = _compared(points, who)
    distance = square.sqrt()
    farthest = distance.masked_fill(~same, 0).amax(1)
    nearest = distance.masked_fill(~different, 2).amin(1)
    usable = same.any(1) & different.any(1)
    each = F.softplus(SCALE * (farthest - nearest + BETWEEN)) / SCALE
    return (each * usable).sum() / usable.sum().clamp(min=1)


def margin(cosine: Tensor, who: Tensor) -> Tensor:
    """Wang 2018, eq. 4: cross-entropy of SCALE times the cosine to every identity, MARGIN less for the own one."""
    own = F.one_hot(who, cosine.shape[1]).to(cosine.dtype)
    return F.cross_entropy(SCALE * (cosine - MARGIN * own), who)
