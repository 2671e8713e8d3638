"""Image nets of timm and torchvision by dotted name, where the user has those installed: --net timm.resnet18, torchvision.vit_b_16.

Their last dense layer becomes `classifier`, and what is before it `features`, so that freezing and weights work as for Lamina's own.
Only these two packages are asked, and only for models that they list: a name in a saved run calls nothing else.
"""

from __future__ import annotations

import functools
import importlib
import types
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lamina.core.errors import SettingError, unknown
from lamina.nets._blocks import Standardize
from lamina.nets._weightless import weightless

TAKES = ("image",)
RGB = 3  # channels that torchvision's models take
IMAGENET = 1_000  # classes of the weights that both publish


@dataclass(frozen=True)
class Config:
    """What the data decides."""

    classes: int = 10
    """outputs"""
    shape: tuple[int, ...] = (3, 224, 224)
    """channels, height and width of the pictures"""


class Net(nn.Module):
    """image (batch, channels, height, width) float in [0, 1] -> logits (batch, classes), by another package's model.

    Grey pictures are given three times to models that take colours alone. Raises SettingError.
    """

    def __init__(self, name: str, config: Config) -> None:
        super().__init__()
        self.standardize = Standardize(config.shape[0])
        self.features, self.channels = _built(name, config)
        last = _last(name, self.features, config.classes)
        self.classifier: nn.Module = self.features.get_submodule(last)
        _replace(self.features, last, nn.Identity())

    def forward(self, image: Tensor) -> Tensor:
        x = self.standardize(image)  # (B, C, H, W)
        found = self.features(x.expand(-1, self.channels, -1, -1))
        if not isinstance(found, Tensor):
            raise SettingError(
                "this model gives more than one answer in training, which Lamina does not learn; take another."
            )
        return self.classifier(found)


def module(name: str) -> types.ModuleType:
    """What a file of this room offers, for a model of another package. Raises SettingError and NameUnknown."""
    made = types.ModuleType(name)
    made.Config, made.Net = Config, functools.partial(Net, name)  # type: ignore[attr-defined]
    made.TAKES, made.SIZES = TAKES, {}  # type: ignore[attr-defined]
    made.renamed = functools.partial(_renamed, name)  # type: ignore[attr-defined]
    _models(name)
    return made


def _models(name: str) -> Any:
    """The package's catalogue, which knows the model. Raises SettingError and NameUnknown."""
    package, model = name.partition(".")[0], name.rpartition(".")[2]
    try:
        models = importlib.import_module(package if package == "timm" else f"{package}.models")
    except (ImportError, RuntimeError, OSError) as error:  # a torchvision that was built for another torch
        raise SettingError(
            f"{name} needs {package}, which cannot be imported ({error}); pip install {package}."
        ) from None
    if model not in models.list_models():
        raise unknown(f"model of {package}", model, models.list_models())
    return models


def _built(name: str, config: Config) -> tuple[nn.Module, int]:
    """The model with drawn weights, and the channels that it takes."""
    models, model = _models(name), name.rpartition(".")[2]
    channels, side = config.shape[0], config.shape[1:]
    if name.startswith("timm"):
        ways: list[tuple[int, dict[str, Any]]] = [(channels, {"in_chans": channels, "img_size": tuple(side)})]
        ways.append((channels, {"in_chans": channels}))
        build = functools.partial(models.create_model, model, pretrained=False)
    else:
        ways = [(RGB, {"image_size": side[0]}), (RGB, {"aux_logits": False, "init_weights": True}), (RGB, {})]
        build = functools.partial(models.get_model, model, weights=None)
    for number, (takes, own) in enumerate(ways):
        try:
            return build(num_classes=config.classes, **own), takes
        except TypeError as error:  # a keyword that this model does not know
            if number == len(ways) - 1:
                raise SettingError(f"{name} cannot be built: {error}.") from None
        except (ValueError, AssertionError) as error:
            raise SettingError(f"{name} takes no pictures of {side[0]}x{side[-1]} pixels: {error}.") from None
    raise AssertionError


def _last(name: str, model: nn.Module, classes: int) -> str:
    """Name of the dense layer that gives the answer."""
    found = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and m.out_features == classes]
    if not found:
        raise SettingError(f"{name} does not end in a dense layer of {classes} outputs; take another model.")
    return found[-1]


def _replace(model: nn.Module, name: str, by: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, by)


def _renamed(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as the package names them -> as Net does."""
    with weightless():
        last = _last(name, _built(name, Config(IMAGENET))[0], IMAGENET)
    inside = {k: k.removeprefix(f"{last}.") for k in tensors}
    return {f"features.{k}" if k == v else f"classifier.{v}": tensors[k] for k, v in inside.items()}
