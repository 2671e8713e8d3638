"""paint: a picture for a picture: depth, colour (Zhang 2016, https://arxiv.org/abs/1603.08511), resolution, noise, or given pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core import _drawn
from lamina.core.answers import Picture
from lamina.core.check import within
from lamina.core.errors import DataError, SettingError, unknown
from lamina.core.parts import in_parts
from lamina.data import _target, _tiles
from lamina.data._augment import Augment
from lamina.data._batches import Batches
from lamina.data._dense import Floats
from lamina.data._pictures import Pictures
from lamina.data._table import TEST, TRAIN, Column, Field, Table
from lamina.measures import pictures
from lamina.tasks import _colour
from lamina.tasks._dense import Dense, _bounded, as_bytes, seen
from lamina.tasks._paints import WAYS, Clean, Values, Way
from lamina.tasks._task import Batch, inputs, whole_loss

SIZES: dict[str, dict] = {
    "pairs": {"way": "pairs"},
    "depth": {"way": "depth"},
    "colour": {"way": "colour"},
    "super2": {"way": "super2"},
    "super4": {"way": "super4"},
    "denoise": {"way": "denoise"},
}
LOSSES = ("auto", "classes", "square", "absolute")
LOOKED = 300  # training pictures that bins and scales are taken from


@dataclass(frozen=True)
class Config:
    """What is painted, and how."""

    way: str = "pairs"
    """pairs (targets come with the data), depth (values with the data), or made from photographs: colour super2 super4 denoise"""
    loss: str = "auto"
    """classes (of colours), square or absolute; auto: classes for colour, else absolute"""
    noise: float = 25.0
    """denoise: standard deviation of the noise in levels of 255"""
    side: int = 0
    """pixels of the tiles that photographs are cut into; 0: 96 for colour, else 64"""
    shorter: int = 0
    """pixels that the shorter side of photographs is made before, so that they hold detail to the last one; 0: 144 for colour, else 288"""
    tiles: int = 60
    """most tiles of a photograph"""

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise unknown("way of paint", self.way, WAYS)
        if self.loss not in LOSSES:
            raise unknown("loss of paint", self.loss, LOSSES)
        if (self.loss == "classes") and self.way != "colour":
            raise SettingError("--task.loss classes is for colour alone; try absolute or square.")
        within("--task.noise", self.noise, 0.1, 255)
        within("--task.tiles", self.tiles, 1, 100_000)
        for name in ("side", "shorter"):
            if getattr(self, name):
                within(f"--task.{name}", getattr(self, name), 16, 4096)
        if self.side % 16:
            raise SettingError(f"--task.side must be a multiple of 16, not {self.side}.")


class Paint(Dense):
    """A picture, or a map of values, for a picture (target kind picture).

    options: the Config, and what its way needs: "times" (super-resolution), "bins", "bin_weights", "mean_ab" (colour), "log", "mean",
    "std", "low", "high" of the (logarithm of the) values, and "mean_value".
    """

    target_kind = ("picture",)
    question = "which picture belongs to this one?"
    recipe: ClassVar[dict[str, Any]] = {**Dense.recipe}

    def __init__(self, target: Field, options: dict[str, Any]) -> None:
        super().__init__(target, options)
        self.way: Way = WAYS[options["way"]](options, target.shape[0] if target.shape else 3)
        self.better, self.lower_is_better = self.way.better, self.way.lower
        self.smooth = not isinstance(self.way, Values)
        self.own_size = options.get("times", 1) if options["way"] in ("super2", "super4", "denoise") else 0

    @classmethod
    def arrange(cls, table: Table, settings: dict[str, Any], seed: int) -> Table:
        """Pairs made from photographs: they are split, then cut into tiles, each its own target. Raises DataError.

        Photographs that are all test rows are scored, not learned from: any number of them will do.
        """
        way = settings["way"]
        if not WAYS[way].made or any(c.field.kind == "picture" for c in table.columns.values()):
            return table
        name = next((n for n, c in table.columns.items() if c.field.kind == "image"), None)
        if name is None:
            raise DataError(f"{table.source} has no photographs; paint/{way} makes its pairs from pictures.")
        scored = table.split is not None and bool((table.split == TEST).all())
        if len(table) < 3 and not scored:
            raise DataError(
                f"{table.source} has {len(table)} photographs; paint/{way} needs 3: to learn, choose and test."
            )
        both = table.with_(columns={name: table[name], "picture": _itself(table[name])}, target="picture")
        both = both if scored else _target.divided(both, seed)
        side = settings["side"] or (96 if way == "colour" else 64)
        shorter = settings["shorter"] or WAYS[way].shorter
        cut = _tiles.tiled(both, name, side, shorter, settings["tiles"])
        return cut.with_column(_itself(cut[name])).with_(target="picture")

    @classmethod
    def usual(cls, settings: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
        return {"image": WAYS[settings["way"]].net}, cls.recipe

    @classmethod
    def settled(cls, table: Table, settings: dict[str, Any]) -> dict[str, Any]:
        column, rows = table[table.target or ""], table.rows(TRAIN)
        way, values = settings["way"], column.values
        image = next(f for f in table.inputs if f.kind == "image")
        if way == "pairs" and (isinstance(values, Floats) or (values.channels() == 1 and image.shape[0] == 3)):
            way = "depth"
        if way == "colour" and (image.shape[0] != 3 or values.channels() != 3):
            raise DataError(f"{table.source} holds grey pictures; paint/colour learns from coloured ones.")
        loss = settings["loss"] if settings["loss"] != "auto" else "classes" if way == "colour" else "absolute"
        options = {**settings, "way": way, "loss": loss}
        if way.startswith("super"):
            options["times"] = int(way.removeprefix("super"))
        few = values.take(rows[np.unique(np.linspace(0, len(rows) - 1, LOOKED).astype(int))])
        if way == "depth":
            options |= _scale(few.pack((1, 64, 64), None, "stretch"), table.source)
        elif way == "colour":
            ab = _colour.to_lab(torch.from_numpy(np.array(few.pack((3, 32, 32), None, "stretch"))).float() / 255)[:, 1:]
            flat = ab.permute(0, 2, 3, 1).reshape(-1, 2).numpy()
            bins, weights = _colour.bins_of(flat)
            options |= {
                "bins": bins.reshape(-1).tolist(),
                "bin_weights": [round(float(w), 6) for w in weights],
                "mean_ab": [round(float(v), 4) for v in flat.mean(0)],
            }
        return options

    @property
    def outputs(self) -> int:
        return self.way.outputs

    @property
    def hints(self) -> dict[str, Any]:
        return dict(self.way.hints)

    @property
    def chooses(self) -> str:
        return "loss" if self.options["way"] == "colour" else self.better

    @property
    def reasons(self) -> list[str]:
        return {
            "colour": [f"Colours: {self.way.outputs} classes of ab, rare ones weigh more."]
            if self.options["loss"] == "classes"
            else [],
            "super2": ["Pairs: each tile made half as large, enlarged again by bicubic interpolation."],
            "super4": ["Pairs: each tile made a quarter as large, enlarged again by bicubic interpolation."],
            "denoise": [
                f"Pairs: noise of {self.options['noise']:g} levels of 255 on each tile, drawn anew in each pass."
            ],
        }.get(self.options["way"], [])

    def change(self, batch: Batch, augment: Augment, seed: int, passes: Tensor, rows: Tensor) -> Batch:
        found = super().change(batch, augment, seed, passes, rows)
        if isinstance(self.way, Clean):
            found["image"] = self.way.noisy(found["target"], seed, passes, rows)
            found["noisy"] = torch.ones(len(rows), dtype=torch.bool)
        return found

    def prepare(self, batch: Batch, training: bool) -> Batch:
        return self.way.prepare(batch)

    def loss(self, net: nn.Module, batch: Batch, phase: str = "all") -> Tensor:
        return whole_loss(net, net(*inputs(net, batch)), lambda output: self.way.losses(output, batch).mean())

    def score(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        output = net(*inputs(net, batch)).float()
        value = self.way.value(output, batch)
        return {**self._measured(value, batch), "loss": self.way.losses(output, batch)}

    def scored(self, output: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        value = output[self.way.output_name]
        found = self._measured(value[:, None] if value.dim() == 3 else value, batch)
        return {**found, "loss": torch.zeros(len(value))}

    def _measured(self, value: Tensor, batch: Batch) -> dict[str, Tensor]:
        return self.way.statistics(self._sized(value, batch["target"]), batch)

    @staticmethod
    def _sized(value: Tensor, target: Tensor) -> Tensor:
        same = value.shape[2:] == target.shape[2:]
        return value if same else F.interpolate(value, target.shape[2:], mode="bilinear", align_corners=False)

    def finish(self, rows: dict[str, np.ndarray]) -> dict[str, float]:
        return self.way.finish(rows)

    def interval(self, rows: dict[str, np.ndarray], name: str, seed: int = 0) -> tuple[float, float]:
        return pictures.interval(self.way.finish, rows, name, seed)

    def output(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        value = self.way.value(net(*inputs(net, batch)).float(), batch)
        return {self.way.output_name: value[:, 0] if self.way.output_name == "values" else value}

    def told(self, rows: dict[str, np.ndarray], i: int) -> dict[str, Any]:
        return {"target": "", "answer": self.way.told(rows, i)}

    def constant(self, train: Batches, test: Batches) -> float | None:
        found = self.baselines(train, test, test)
        return next(iter(found.values())) if found else float("nan")

    def baselines(self, train: Batches, validation: Batches, test: Batches) -> dict[str, float] | None:
        count, total, found = 0, torch.zeros(()), {}
        for batch in self._parts(train) if self.options["way"] in ("pairs", "depth") else ():
            count, total = count + len(batch["target"]), total + batch["target"].nan_to_num(0.0).sum(0)
        for batch in self._parts(test):
            answers = self.way.simple(batch)
            if count:
                answers["the mean of each place"] = (total / count).expand_as(batch["target"])
            for name, value in answers.items():
                rows = {k: v.cpu().numpy() for k, v in self.way.statistics(value, batch).items()}
                found.setdefault(name, []).append(rows)
        return {
            n: self.finish({k: np.concatenate([p[k] for p in parts]) for k in parts[0]})[self.better]
            for n, parts in found.items()
        }

    def _parts(self, batches: Batches) -> Any:
        for start in range(0, len(batches), 64):
            yield self.prepare(batches.slice(start, start + 64), training=False)

    def placed(self, net: nn.Module, table: Table, inputs: Sequence[Field]) -> list[Any]:
        if not self.own_size:
            return super().placed(net, table, inputs)
        image = next(f for f in inputs if f.kind == "image")
        values, found = table[image.name].values, []
        for row in range(len(table)):
            pixels = values.open(row) if isinstance(values, Pictures) else values[row].transpose(1, 2, 0)
            pixels = _bounded(
                pixels if pixels.shape[2] == image.shape[0] else _drawn.three(pixels)[..., : image.shape[0]]
            )
            found.append(Picture(self._in_parts(net, pixels)))
        return found

    def _in_parts(self, net: nn.Module, pixels: np.ndarray) -> np.ndarray:
        """The answer to a picture in its own size, uint8 (height, width, channels) or so many times larger, a part at a time."""
        device = next(net.parameters()).device

        def answer(part: np.ndarray) -> np.ndarray:
            image = torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1)))[None].to(device)
            output = self.output(net, self.prepare({"image": image}, training=False))
            return self.sized(output, image)[0].cpu().numpy()

        return in_parts(answer, pixels, self.own_size, self.target.shape[0])

    def sized(self, output: dict[str, Tensor], raw: Tensor) -> Tensor:
        if self.own_size:
            return as_bytes(output["picture"])
        found = super().sized(output, raw)
        if self.options["way"] != "colour":
            return found
        own = _colour.to_lab(raw.expand(-1, 3, -1, -1).float() / 255)
        painted = _colour.to_lab(found.permute(0, 3, 1, 2).float() / 255)
        return as_bytes(_colour.to_rgb(torch.cat([own[:, :1], painted[:, 1:]], 1)))

    def seen(self, batch: Batch) -> list[list[np.ndarray]]:
        batch = self.prepare(batch, training=True)
        return [[_drawn.three(seen(i)), self._looked(t)] for i, t in zip(batch["image"], batch["target"], strict=True)]

    def shown(self, net: nn.Module, batch: Batch) -> list[list[np.ndarray]]:
        value = self._sized(self.way.value(net(*inputs(net, batch)).float(), batch), batch["target"])
        rows = zip(batch["image"], batch["target"], value, strict=True)
        return [[_drawn.three(seen(i)), self._looked(t), self._looked(v, t)] for i, t, v in rows]

    def _looked(self, value: Tensor, like: Tensor | None = None) -> np.ndarray:
        """A picture, or values in colours, scaled as the truth is."""
        if self.way.output_name == "picture":
            return _drawn.three(seen(value))
        known = (value if like is None else like)[0].cpu().numpy()
        some = known[known > 0] if (known > 0).any() else np.ones(1)
        return _drawn.heat(value[0].cpu().numpy(), float(np.percentile(some, 2)), float(np.percentile(some, 98)))


def _itself(column: Column) -> Column:
    """A picture column as a target of its own."""
    return Column(Field("picture", "picture"), column.values)


def _scale(values: np.ndarray, source: str) -> dict[str, Any]:
    """How values are learned: their logarithm, or themselves, standardised."""
    known = values[values > 0].astype(np.float64)
    if not len(known):
        raise DataError(f"{source} has no value above 0 among the targets that were looked at; 0 and NaN are unknown.")
    log = bool(known.max() > 4 * known.min())
    scaled = np.log(known) if log else known
    return {
        "log": log,
        "mean": float(scaled.mean()),
        "std": float(scaled.std()) or 1.0,
        "low": float(scaled.min()),
        "high": float(scaled.max()),
        "mean_value": float(known.mean()),
    }
