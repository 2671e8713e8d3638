"""checking: how a trained net stands worse rows and attacks, and what is learned from other rows; run.check, lamina.check."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lamina.core.errors import SettingError
from lamina.data._batches import Batches
from lamina.data._store import shared
from lamina.data._table import TEST, Table
from lamina.judge import _rows, attacks, learning_curve, shuffled, square, worse_rows
from lamina.judge._refit import Again
from lamina.judge.attacks import Aim
from lamina.judge.corruptions import CORRUPTIONS, STRENGTHS
from lamina.tasks.classify import Classify
from lamina.train.evaluate import statistics
from lamina.train.plan import Plan

if TYPE_CHECKING:
    from lamina.trained import Trained

ROWS = 128  # test rows of pictures, evenly spread
LINES = 1000  # test rows of texts and columns
FEW = 20  # of them, for the attacks that ask often
RADII = (0.02, 0.05, 0.1, 0.2)  # L-inf, shares of the range of a pixel
LENGTHS = (0.5, 1.0, 2.0)  # L2
SHOWN = 8  # pictures of the page
TILE = 96  # pixels
HALVES = 10  # steps of an attack, where the least change is looked for


@dataclass(frozen=True, repr=False)
class Check:
    """Shares of right answers, each on the same test rows, with its 95 % interval (Wilson) where rows are counted.

    Empty or None: not measured, since the net gives no label or reads no picture, or since it was not asked for.
    """

    rows: int
    clean: float | None
    worse: dict[str, list[float]]
    """what was changed (judge.corruptions, judge.worse_rows) -> share right for mild, clear, strong"""
    attacked: dict[str, dict[str, float]]
    """attack -> radius -> share right"""
    least: dict[str, float]
    """norm -> the median of the smallest change that makes a right answer wrong; inf where half of them stood"""
    one_pixel: float | None
    """share of FEW rows, rightly answered, that one pixel turns; None when not asked for"""
    seconds: float
    signature: str
    pictures: Any = field(default=None, compare=False)
    """PIL: pictures, what they were changed to and the change; None when none was turned"""
    black_box: dict[str, dict[str, float]] = field(default_factory=dict)
    """"black box" (squares) and "PGD" -> radius -> share right, of the first 2 * FEW rows"""
    hidden: bool = False
    """whether the black box is stronger than PGD: the gradients hide, and the attacks say too much"""
    learning: dict[str, Any] | None = None
    """what twice the training rows would bring (judge.learning_curve.Curve)"""
    shuffled: dict[str, Any] | None = None
    """what is scored after learning from shuffled labels (judge.shuffled.Shuffled)"""
    left_out: tuple[str, ...] = ()
    """what was not measured, and why"""

    def to_json(self) -> dict[str, Any]:
        """Plain values; inf as None."""
        told = {k: v for k, v in asdict(self.__class__(**{**vars(self), "pictures": None})).items() if k != "pictures"}
        return {**told, "least": {k: v if math.isfinite(v) else None for k, v in self.least.items()}}

    def __repr__(self) -> str:
        parts = [f"clean {self.clean:.1%}"] if self.clean is not None else []
        if self.attacked:
            parts.append(f"PGD at {max(RADII)} {self.attacked['PGD'][f'{max(RADII):g}']:.1%}")
        return f"Check({', '.join([*parts, self.signature])})"


def check(trained: Trained, data: Any = None, deep: bool = False, say: Callable[[str], None] = lambda _: None) -> Check:
    """Measure a net that gives one label: on worse rows, and of pictures against attacks. Raises LaminaError.

    deep: on all test rows, and one pixel; and of any net the learning curve and shuffled labels, which learn anew for about two
    and a half times the run's time. `say` is told what is being done.
    """
    from lamina.explaining import _learned_from

    begun, plan = time.monotonic(), trained.plan
    task = trained.task
    labels = isinstance(task, Classify) and not task.several
    pictures = labels and any(f.kind == "image" for f in plan.inputs)
    lines = labels and not pictures and bool(worse_rows.changes(plan.inputs))
    why = f"check measures nets that give one label; this one answers {plan.target.kind}"
    if not (pictures or lines or deep):
        raise SettingError(f"{why}. --deep measures what more rows would bring, of any net.")
    table = _learned_from(trained, data)
    rows = table.rows(TEST)
    most = len(rows) if deep else LINES if lines else ROWS
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, most).astype(int))]
    if pictures:
        found = _of_pictures(trained, table, rows, deep)
    else:
        found = _of_lines(trained, table.take(rows)) if lines else Check(len(rows), None, {}, {}, {}, None, 0.0, "")
    more = _deep(trained, table, say) if deep else {}
    kept = () if pictures or lines else (f"worse rows and attacks: {why}",)
    left_out = (*more.pop("left_out", ()), *kept)
    signature = trained.signature(table, f"{len(rows)} test rows")
    took = round(time.monotonic() - begun, 1)
    return replace(found, **more, left_out=left_out, seconds=took, signature=signature)


def _of_lines(trained: Trained, table: Table) -> Check:
    """Share right of texts and columns as they are, and made worse."""
    task, plan = trained.task, trained.plan
    device = next(trained.net.parameters()).device

    def right(some: Table) -> float:
        rows = statistics(task, trained.net, Batches(some, plan.inputs, plan.target, device))
        return float((rows["probabilities"].argmax(1) == rows["target"]).mean())

    found = {
        name: [right(worse_rows.worse(table, plan.inputs, name, s, plan.recipe.seed)) for s in range(len(STRENGTHS))]
        for name in worse_rows.changes(plan.inputs)
    }
    return Check(len(table), right(table), found, {}, {}, None, 0.0, "")


def _of_pictures(trained: Trained, table: Table, rows: np.ndarray, deep: bool) -> Check:
    task, plan = trained.task, trained.plan
    assert isinstance(task, Classify)
    device = next(trained.net.parameters()).device
    batches = Batches(table.take(rows), plan.inputs, plan.target, device, shared())
    aim = Aim(task, trained.net.eval(), task.prepare(batches.slice(0, len(rows)), training=False))
    seed, image = plan.recipe.seed, aim.batch["image"]
    worse = {}
    for name, (change, strengths) in CORRUPTIONS.items():
        drawn = torch.Generator().manual_seed(seed)
        worse[name] = [
            attacks.robust(aim, lambda a, c=change, s=s, g=drawn: c(a.batch["image"], s, g)) for s in strengths
        ]
    attacked, strongest = _attacked(aim, seed)
    few = aim.part(slice(2 * FEW))
    least = {norm: _median(attacks.least(few, norm, most, HALVES)) for norm, most in (("L-inf", 0.5), ("L2", 8.0))}
    boxed = _black_box(few, seed)
    turned = None
    if deep:
        right = aim.right(image).nonzero().flatten()[:FEW].tolist()
        turned = float(np.mean([attacks.one_pixel(aim, row, seed) is not None for row in right])) if right else None
    return Check(
        len(rows), float(aim.right(image).double().mean()), worse, attacked, least, turned, 0.0, "",
        _sheet(aim, strongest, plan.target.classes), boxed, square.hidden(boxed, len(few.batch["target"])),
    )  # fmt: skip


def _deep(trained: Trained, table: Table, say: Callable[[str], None]) -> dict[str, Any]:
    """The learning curve and the shuffled labels, as fields of Check."""
    plan, kept = Plan.from_json(trained.config["plan"]), _rows.read(trained.run)
    again = Again(plan, trained.run, next(trained.net.parameters()).device)
    same = np.array_equal(kept.get("place", ()), table.rows(TEST)) and set(kept) - {"place", "loss"}
    own = kept if same else again.measured(trained.task, trained.net, table)
    curve = learning_curve.measure(again, table, {k: v for k, v in own.items() if k != "place"}, say)
    say("learning from shuffled labels")
    mixed = shuffled.measure(again, table)
    found: dict[str, Any] = {"left_out": []}
    for name, one in (("learning", curve), ("shuffled", mixed)):
        if isinstance(one, str):
            found["left_out"].append(f"{name}: {one}")
        else:
            found[name] = one.to_json()
    return found


def _attacked(aim: Aim, seed: int) -> tuple[dict[str, dict[str, float]], Tensor]:
    """Share right after every attack at its radii, and the pictures of PGD at the second of RADII."""
    found: dict[str, dict[str, float]] = {
        name: {} for name in ("noise", "one change for all", "FGSM", "PGD", "PGD L2", "PGD to the next class")
    }
    classes = len(aim.task.target.classes)
    wanted = (aim.batch["target"] + 1) % classes
    kept = aim.batch["image"]
    for radius in RADII:
        name = f"{radius:g}"
        change = attacks.universal(aim, radius)
        tried = attacks.pgd(aim, radius, seed=seed)
        kept = tried if radius == RADII[1] else kept
        found["noise"][name] = attacks.robust(aim, lambda a, r=radius: attacks.noise(a, r, seed=seed))
        found["one change for all"][name] = attacks.robust(aim, lambda a, c=change: (a.batch["image"] + c).clamp(0, 1))
        found["FGSM"][name] = attacks.robust(aim, lambda a, r=radius: attacks.fgsm(a, r))
        found["PGD"][name] = attacks.robust(aim, lambda a, t=tried: t)
        hit = aim.answers(attacks.pgd(aim, radius, target=wanted, seed=seed)) == wanted
        found["PGD to the next class"][name] = float(1 - hit.double().mean())
    for length in LENGTHS:
        found["PGD L2"][f"{length:g}"] = attacks.robust(aim, lambda a, r=length: attacks.pgd(a, r, "L2", seed=seed))
    return found, kept


def _black_box(few: Aim, seed: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {"black box": {}, "PGD": {}}
    for radius in RADII:
        found["black box"][f"{radius:g}"] = attacks.robust(
            few, lambda a, r=radius: square.square(a, r, square.QUERIES, seed)
        )
        found["PGD"][f"{radius:g}"] = attacks.robust(few, lambda a, r=radius: attacks.pgd(a, r, seed=seed))
    return found


def _median(radii: Tensor) -> float:
    """Of the rows that were answered rightly."""
    changed = radii[radii > 0]
    return float(changed.median()) if len(changed) else math.inf


def _sheet(aim: Aim, changed: Tensor, classes: tuple[str, ...]) -> Image.Image | None:
    """Rows that were turned: picture, changed picture, the change ten times as strong, and what is answered."""
    from lamina.explain._draw import DIM, INK, TEXT, font, pixels

    image = aim.batch["image"]
    rows = (aim.right(image) & ~aim.right(changed)).nonzero().flatten()[:SHOWN].tolist()
    if not rows:
        return None
    answers, labels = aim.answers(changed), aim.batch["target"]
    sheet = Image.new("RGB", (3 * (TILE + 4) + 200, len(rows) * (TILE + 4) - 4), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        three = (image[row], changed[row], (0.5 + 10 * (changed[row] - image[row])).clamp(0, 1))
        for x, part in enumerate(three):
            tile = pixels(part.cpu().numpy()).resize((TILE, TILE), Image.Resampling.NEAREST)
            sheet.paste(tile, (x * (TILE + 4), y * (TILE + 4)))
        for line, (about, code, ink) in enumerate((("is", labels[row], DIM), ("answered", answers[row], INK))):
            place = (3 * (TILE + 4) + 10, y * (TILE + 4) + TILE // 2 - 20 + 20 * line)
            text = f"{about} {classes[int(code)][:24]}"
            draw.text(place, text, ink, font(TEXT, text))
    return sheet
