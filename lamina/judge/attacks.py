"""Attacks: pictures changed a little so that a net errs; how often they succeed within a bound, and the least change that does.

FGSM (Goodfellow 2014, https://arxiv.org/abs/1412.6572), PGD within a ball of the L-inf or the L2 norm, also towards a wanted
class (Madry 2017, https://arxiv.org/abs/1706.06083), one change for all pictures (Moosavi-Dezfooli 2016,
https://arxiv.org/abs/1610.08401, by projected gradients), one pixel (Su 2017, https://arxiv.org/abs/1710.08864), and noise of
the same size, which must be weaker: where it is not, the gradients hide (Athalye 2018, https://arxiv.org/abs/1802.00420).

Pictures are (rows, channels, height, width) float in [0, 1], as `task.prepare` gives them; a radius of the L-inf norm is a
share of the range of a pixel, of the L2 norm the root of the summed squares. Letters: B rows, P population.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.tasks._task import Batch
from lamina.tasks.classify import Classify

STEPS = 20
REACH = 2.5  # of the radius that all steps together could go
HALVINGS = 8  # of the radius, to find the least
POPULATION, GENERATIONS = 100, 30  # of one pixel (Su 2017: 400 and 100)
MUTATION = 0.5


@dataclass(frozen=True)
class Aim:
    """A net that is attacked on rows with one label each, as it answers: from both mirrorings where its task says so."""

    task: Classify
    net: nn.Module
    batch: Batch
    """prepared; its "target" (B,) are the labels"""

    def part(self, rows: Tensor | slice) -> Aim:
        """The same net, attacked on some of the rows."""
        return Aim(self.task, self.net, {k: v[rows] for k, v in self.batch.items()})

    def logs(self, image: Tensor) -> Tensor:
        """(B, classes) logarithms of the probabilities that are answered; differentiable."""
        return self.task.logs(self.net, {**self.batch, "image": image})

    @torch.no_grad()
    def answers(self, image: Tensor) -> Tensor:
        """(B,) code of the label that is answered."""
        return self.logs(image).argmax(1)

    @torch.no_grad()
    def probabilities(self, row: int, image: Tensor) -> Tensor:
        """(P, classes) for versions (P, channels, height, width) of the picture of a row."""
        batch = {k: v[row : row + 1].expand(len(image), *v.shape[1:]) for k, v in self.batch.items()}
        return self.task.logs(self.net, {**batch, "image": image}).exp()

    def right(self, image: Tensor) -> Tensor:
        """bool (B,): whether the label is answered."""
        return self.answers(image) == self.batch["target"]


def wrongness(logs: Tensor, label: Tensor) -> Tensor:
    """(B,) by how much the most probable other label is ahead of `label`: above 0 it is answered (Carlini 2016, f6).

    Not the training loss: smoothed labels make that one rise when the right answer becomes surer, too.
    """
    own = torch.zeros_like(logs, dtype=torch.bool).scatter(1, label[:, None], True)
    return logs.masked_fill(own, -torch.inf).amax(1) - logs.masked_fill(~own, -torch.inf).amax(1)


def _unit(grad: Tensor, norm: str) -> Tensor:
    """The direction in which a step of the norm's length gains most."""
    if norm == "L-inf":
        return grad.sign()
    return grad / grad.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)


def _inside(change: Tensor, norm: str, radius: Tensor) -> Tensor:
    """The change, drawn back to the ball of radius (B, 1, 1, 1)."""
    if norm == "L-inf":
        return torch.minimum(torch.maximum(change, -radius), radius)
    length = change.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return change * (radius / length.clamp(min=1e-12)).clamp(max=1)


def _radii(image: Tensor, radius: float | Tensor) -> Tensor:
    return torch.as_tensor(radius, dtype=image.dtype, device=image.device).expand(len(image)).view(-1, 1, 1, 1)


def fgsm(aim: Aim, radius: float) -> Tensor:
    """One step of the whole radius along the sign of the gradient (Goodfellow 2014, section 4)."""
    image = aim.batch["image"].clone().requires_grad_()
    (grad,) = torch.autograd.grad(wrongness(aim.logs(image), aim.batch["target"]).sum(), image)
    return (image + radius * grad.sign()).clamp(0, 1).detach()


def pgd(
    aim: Aim,
    radius: float | Tensor,
    norm: str = "L-inf",
    *,
    steps: int = STEPS,
    target: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """`steps` small steps away from the label, from a random start inside the ball; with `target` (B,) towards these.

    radius: one, or one per row (B,). Of every row the first version that errs (or is answered as wanted) is
    kept, and it is not asked any more.
    """
    image = aim.batch["image"]
    radii, sign = _radii(image, radius), 1 if target is None else -1
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(seed)).to(image.device) * 2 - 1
    change = _inside(noise * radii, norm, radii)
    label = aim.batch["target"] if target is None else target
    kept, rows = image.clone(), torch.arange(len(image), device=image.device)
    for step in range(steps + 1):
        tried = (image[rows] + change).clamp(0, 1).requires_grad_()
        ahead = wrongness(aim.part(rows).logs(tried), label[rows])
        kept[rows] = tried.detach()
        still = sign * ahead <= 0
        if step == steps or not bool(still.any()):
            return kept
        (grad,) = torch.autograd.grad(ahead.sum(), tried)
        rows, tried, grad = rows[still], tried.detach()[still], grad[still]
        change = tried + sign * REACH / steps * radii[rows] * _unit(grad, norm) - image[rows]
        change = _inside(change, norm, radii[rows])
    raise AssertionError("the last step returns")


def noise(aim: Aim, radius: float, tries: int = STEPS, seed: int = 0) -> Tensor:
    """Of random changes by plus or minus the radius per pixel, the first that errs."""
    generator, image = torch.Generator().manual_seed(seed), aim.batch["image"]
    kept, rows = image.clone(), torch.arange(len(image), device=image.device)
    for _ in range(tries):
        signs = torch.randint(0, 2, image.shape, generator=generator).to(image) * 2 - 1
        kept[rows] = (image + radius * signs).clamp(0, 1)[rows]
        rows = rows[aim.part(rows).right(kept[rows])]
        if not len(rows):
            break
    return kept


def universal(aim: Aim, radius: float, passes: int = 10, rows: int = 64) -> Tensor:
    """(channels, height, width): one change within the L-inf radius that turns as many rows of the aim as it can."""
    image = aim.batch["image"]
    change = torch.zeros_like(image[:1])
    for _ in range(passes):
        for start in range(0, len(image), rows):
            part = aim.part(slice(start, start + rows))
            free = change.clone().requires_grad_()
            logs = part.logs((part.batch["image"] + free).clamp(0, 1))
            (grad,) = torch.autograd.grad(wrongness(logs, part.batch["target"]).clamp(max=1.0).sum(), free)
            change = (change + 0.1 * radius * grad.sign()).clamp(-radius, radius)
    return change[0]


def least(aim: Aim, norm: str, most: float, steps: int = STEPS) -> Tensor:
    """(B,) the smallest radius up to `most` at which PGD succeeds, by halving; inf where it never does, 0 where the net errs anyway."""
    image = aim.batch["image"]
    low, high = torch.zeros(len(image), device=image.device), torch.full((len(image),), most, device=image.device)
    never = aim.right(pgd(aim, most, norm, steps=steps))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        right = aim.right(pgd(aim, middle, norm, steps=steps))
        low, high = torch.where(right, middle, low), torch.where(right, high, middle)
    high[never] = torch.inf
    high[~aim.right(image)] = 0.0
    return high


def one_pixel(
    aim: Aim, row: int, seed: int = 0, population: int = POPULATION, generations: int = GENERATIONS
) -> Tensor | None:
    """The picture of a row with one pixel changed so that it errs, by differential evolution (Su 2017, section 3.3); None if not found."""
    generator = torch.Generator().manual_seed(seed + row)
    image, label = aim.batch["image"][row], int(aim.batch["target"][row])
    channels, height, width = image.shape

    def painted(some: Tensor) -> Tensor:  # (P, 2 + channels) in [0, 1] -> (P, channels, height, width)
        versions = image.expand(len(some), -1, -1, -1).clone()
        y, x = (some[:, 0] * height).long().clamp(max=height - 1), (some[:, 1] * width).long().clamp(max=width - 1)
        versions[torch.arange(len(some)), :, y, x] = some[:, 2:].to(image)
        return versions

    def told(some: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = aim.probabilities(row, painted(some))
        return probabilities[:, label].cpu(), (probabilities.argmax(1) != label).cpu()

    people = torch.rand(population, 2 + channels, generator=generator)
    fitness, errs = told(people)
    for _ in range(generations):
        if bool(errs.any()):
            return painted(people[errs][:1])[0]
        parents = torch.stack([torch.randperm(population, generator=generator) for _ in range(3)])
        children = (people[parents[0]] + MUTATION * (people[parents[1]] - people[parents[2]])).clamp(0, 1)
        new, new_errs = told(children)
        better = new < fitness
        people[better], fitness[better], errs[better] = children[better], new[better], new_errs[better]
    return painted(people[errs][:1])[0] if bool(errs.any()) else None


def robust(aim: Aim, attack: Callable[[Aim], Tensor]) -> float:
    """Share of the rows that are answered rightly after the attack."""
    return float((aim.right(aim.batch["image"]) & aim.right(attack(aim))).double().mean())
