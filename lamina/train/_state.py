"""The whole state of a training as one safetensors file: what is saved and read back is enough for the same bits."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, field
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from lamina.core.errors import RunError
from lamina.core.run import Run
from lamina.train.step import Step


@dataclass
class Progress:
    """Where a training stands; plain values."""

    step: int = 0
    """weight updates done"""
    fraction: float = 0.0
    """share of the budget used, which the learning rate follows"""
    remaining: int = 0
    """weight updates planned"""
    every: int = 1
    """weight updates between validations"""
    best: float | None = None
    """best validation score"""
    best_step: int = 0
    stale: int = 0
    """validations since the best one"""
    lowered: float = 1.0
    """factor on the learning rate after a roll-back"""
    rolled_back: int = 0
    micro_batch: int = 0
    seconds: float = 0.0
    """used so far, interruptions not counted"""
    first_loss: float | None = None
    horizon: float = 0.0
    """steps over which weights are averaged"""
    best_scores: dict[str, float] = field(default_factory=dict)
    way: dict[str, Any] = field(default_factory=dict)
    """how the updates run"""


LAZY = 4  # updates between two of the average


class Average:
    """Exponential average of a net's weights and statistics; `net` is a copy that holds it.

    The horizon grows from the start (a step weighs 1 / (1 + n) at first), so that early weights are forgotten.
    """

    def __init__(self, net: nn.Module, horizon: float) -> None:
        self.net = copy.deepcopy(net).eval()
        for p in self.net.parameters():
            p.requires_grad_(False)
        self.horizon = horizon
        # The parameters themselves: their memory may be laid out anew (ways.py).
        ours, theirs = [*net.parameters(), *net.buffers()], [*self.net.parameters(), *self.net.buffers()]
        pairs = [(a, b) for a, b in zip(theirs, ours, strict=True)]
        self._floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        self._others = [(a, b) for a, b in pairs if not a.is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` updates: of a long horizon every LAZY-th for all, which costs a LAZY-th."""
        if not self.horizon:
            return  # `catch_up` copies them when they are asked for
        lazy = LAZY if self.horizon > 20 * LAZY else 1
        if step % lazy:
            return
        weight = 1 / min(self.horizon + 1, 1 + step / 5)
        self._blend(1 - (1 - weight) ** lazy)

    @torch.no_grad()
    def catch_up(self) -> None:
        """Without a horizon the average is the weights as they are now."""
        if not self.horizon:
            self._blend(1.0)

    def _blend(self, weight: float) -> None:
        averages, weights = [a for a, _ in self._floats], [b for _, b in self._floats]
        torch._foreach_lerp_(averages, weights, weight)  # type: ignore[attr-defined]  one call for all tensors
        for mine, theirs in self._others:
            mine.copy_(theirs)


def save(run: Run, progress: Progress, net: nn.Module, average: Average, step: Step) -> None:
    """Write the state. Raises RunError when the disk refuses; the state before it stays."""
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.net.state_dict().items()}
    tensors |= _kept(step)
    metadata = {"progress": json.dumps(asdict(progress))}
    run.save_state(progress.step, to_bytes(tensors, metadata))


def to_bytes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """A safetensors file as bytes, always the same ones; tensors that share memory are written apart."""
    content = safetensors.torch.save({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, metadata)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))  # safetensors writes them in any order
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # values stay aligned
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def restore(run: Run, net: nn.Module, average: Average, step: Step) -> tuple[Progress | None, list[str]]:
    """Load the newest intact state into net, average and optimisers; sentences name the damaged ones passed over."""
    sentences = []
    for content, damage in run.states():
        if damage:
            sentences.append(f"{damage} The state before it is used.")
            continue
        tensors = safetensors.torch.load(content)
        metadata = _metadata(content)
        progress = Progress(**json.loads(metadata["progress"]))
        kept = _kept(step)
        found = {name: value.shape for name, value in tensors.items() if name.startswith("optimizer.")}
        if found != {name: value.shape for name, value in kept.items()}:
            raise RunError(
                f"the training in {run.path} was stopped in another version of Lamina, whose optimisers kept other numbers; begin a new run."
            )
        net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
        average.net.load_state_dict(
            {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
        )
        for name, value in kept.items():
            value.copy_(tensors[name])
        step.lowered, step.micro_batch = progress.lowered, progress.micro_batch
        run.forget_states_after(progress.step)
        return progress, sentences
    if sentences:
        raise RunError(f"no state in {run.path} can be used: {sentences[0]}")
    return None, sentences


def _metadata(content: bytes) -> dict[str, str]:
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size])["__metadata__"]


def _kept(step: Step) -> dict[str, Tensor]:
    """The optimisers' tensors by name."""
    return {
        f"optimizer.{i}.{number}.{name}": value
        for i, optimizer in enumerate(step.optimizers)
        for number, kept in enumerate(optimizer.state)
        for name, value in kept.items()
    }
