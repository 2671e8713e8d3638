"""Recipe: how to train. Fields left open (None, "auto") are chosen for the data and the machine, and the plan says how."""

from __future__ import annotations

from dataclasses import dataclass

from lamina.core.check import within
from lamina.core.errors import SettingError, unknown

OPTIMIZERS = ("auto", "sgd", "adamw", "muon")
PRECISIONS = ("auto", "float32", "bfloat16")
SCHEDULES = ("auto", "one_cycle", "cosine", "linear", "constant")
TOKENS = ("auto", "characters", "bytes", "words", "pairs")
AUGMENTS = ("none", "shift", "flip", "affine")
ADDED = ("crop", "color", "erase", "bands", "mixup", "cutmix")  # to one of these, with a plus: flip+color+cutmix
FREEZE = ("auto", "none", "features")


@dataclass(frozen=True)
class Recipe:
    """Settings of one training; the saved run holds them with every open one filled in."""

    minutes: float | None = None
    """time for everything, scoring included; training ends inside it"""
    epochs: float | None = None
    """passes over the training rows; with minutes, whichever ends first"""
    steps: int | None = None
    """weight updates; with minutes, whichever ends first"""
    batch: int | None = None
    """rows per weight update"""
    micro_batch: int | None = None
    """rows per forward pass; a batch is the sum of its micro-batches"""
    lr: float | None = None
    """highest learning rate"""
    optimizer: str = "auto"
    """sgd (Nesterov momentum 0.9), adamw, or muon"""
    weight_decay: float | None = None
    """decay of weight matrices, not of biases and normalisations"""
    schedule: str = "auto"
    """learning rate over the budget: one_cycle, cosine, linear or constant"""
    smoothing: float | None = None
    """label smoothing: share of the target spread over all classes"""
    augment: str = "auto"
    """random changes of pictures: none, shift, flip (and shift), affine (turn, scale and shift); and, added with a plus, crop color
    erase bands mixup cutmix: flip+color+cutmix"""
    patience: int | None = None
    """stop after so many validations without a better score"""
    average: float | None = None
    """horizon of the weight average as a share of all steps; 0 switches it off"""
    clip: float | None = None
    """largest norm of the gradient over all weights"""
    precision: str = "auto"
    """of the products in training: float32, bfloat16 (weights stay float32), or auto: for a budget in minutes whichever is faster
    here, else float32, so that it can be repeated; answers are always given in float32"""
    side: int | None = None
    """pixels of a side that pictures are brought to; larger ones tell more and take longer"""
    harden: float = 0.0
    """learn from attacked pictures: the most that a pixel is changed, as a share of its range; an update takes five times as long"""
    tokens: str = "auto"
    """what texts are cut into: characters, bytes, words or pairs (byte pairs)"""
    vocabulary: int | None = None
    """most different tokens, the four special ones included"""
    longest: int | None = None
    """tokens of a text that are read; what is behind them is cut off"""
    weights: str | None = None
    """weights to begin with: imagenet, a run, a pack, a safetensors file or a torch state dict; none, where a task has usual ones"""
    freeze: str = "auto"
    """what of them stays: none, features (only the answer learns), or auto: by the amount of data"""
    seed: int = 0
    """key of all randomness"""

    def __post_init__(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise SettingError("--epochs and --steps are two counts of the same; give one.")
        for name in ("minutes", "epochs", "steps"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise SettingError(f"--{name} must be more than 0, not {getattr(self, name):g}.")
        for name, low, high in (
            ("batch", 2, 1 << 20), ("micro_batch", 2, 1 << 20), ("lr", 1e-9, 1e3), ("weight_decay", 0, 10),
            ("smoothing", 0, 0.9), ("patience", 1, 1e6), ("average", 0, 1), ("harden", 0, 1), ("clip", 1e-6, 1e9), ("minutes", 1e-9, 1e6),
            ("side", 8, 1_024), ("vocabulary", 6, 1 << 20), ("longest", 1, 1 << 20),
        ):  # fmt: skip
            if getattr(self, name) is not None:
                within(f"--{name.replace('_', '-')}", getattr(self, name), low, high)
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("tokens", TOKENS),
            ("freeze", FREEZE),
        ):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        first, *added = self.augment.split("+")
        for word, known in ((first, ("auto", *AUGMENTS, *ADDED)), *((word, ADDED) for word in added)):
            if word not in known or (first == "auto" and added):
                raise unknown("augment", word, known)
