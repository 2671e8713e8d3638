"""Health: sentences about a training that goes wrong, each said once, with what to do. Looks on; never changes a weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lamina.nets import _blocks
from lamina.tasks._task import Batch, inputs

DEAD = 0.4  # share of a layer's units that never answer
SATURATED = 0.6  # share of a layer's values beyond 97 % of their limit
VANISHING, EXPLODING = 1e-4, 1e3
LIMITS = {nn.Sigmoid: (0.0, 1.0), nn.Tanh: (-1.0, 1.0), _blocks.ScaledTanh: (-1.7159, 1.7159)}


class Health:
    """Collects sentences; `say` returns those that are new."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._new: list[str] = []

    def add(self, topic: str, sentence: str) -> None:
        """Say a sentence unless its topic was said before."""
        if topic not in self._said:
            self._said.add(topic)
            self._new.append(sentence)

    def say(self) -> list[str]:
        """Sentences since the last call."""
        new, self._new = self._new, []
        return new

    def first_loss(self, loss: float, expected: float | None) -> None:
        """A net that knows nothing should lose ln(classes), or the variance of a standardised number."""
        if expected and loss > 2 * expected + 0.5:
            self.add("first", f"The first loss is {loss:.2f} where a net that knows nothing loses {expected:.2f}: the "
                     "weights begin too large or the inputs are not scaled; try another --net or a lower --lr.")  # fmt: skip

    def activations(self, net: nn.Module, batch: Batch) -> None:
        """Dead and saturated units per activation layer, on a batch, with the net as it answers (eval)."""
        handles = []
        for name, module in net.named_modules():
            if isinstance(module, nn.ReLU | nn.Sigmoid | nn.Tanh | _blocks.ScaledTanh):
                handles.append(module.register_forward_hook(self._hook(name)))
        try:
            with torch.no_grad():
                net(*inputs(net, batch))
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str):  # noqa: ANN202
        def look(module: nn.Module, _: tuple, output: Tensor) -> None:
            if isinstance(module, nn.ReLU):
                axes = [a for a in range(output.dim()) if a != 1]
                dead = float((output <= 0).all(dim=axes[0]).flatten(1).all(1).float().mean()) if output.dim() > 2 else float(
                    (output <= 0).all(0).float().mean())  # fmt: skip
                if dead > DEAD:
                    self.add(f"dead {name}", f"Layer {name}: {dead:.0%} of the units are dead (always 0); "
                             "try a lower --lr or --net.activation leaky_relu.")  # fmt: skip
                return
            low, high = LIMITS[type(module)]
            edge = 0.03 * (high - low)
            stuck = float(((output < low + edge) | (output > high - edge)).float().mean())
            if stuck > SATURATED:
                self.add(f"saturated {name}", f"Layer {name}: {stuck:.0%} of the values are saturated; "
                         "try a lower --lr, or --net.activation relu.")  # fmt: skip

        return look

    def gradients(self, net: nn.Module) -> None:
        """Vanishing and exploding gradients, from those of the last step."""
        layers = [(n, p) for n, p in net.named_parameters() if p.dim() > 1 and p.grad is not None]
        if len(layers) < 2:
            return
        norms = [float(p.grad.norm() / (p.numel() ** 0.5)) for _, p in layers]  # type: ignore[union-attr]
        first, last = norms[0], norms[-1]
        if last > 0 and first < VANISHING * last:
            self.add("vanishing", f"Gradients vanish: {layers[0][0]} gets {first / last:.0e} times the gradient of "
                     f"{layers[-1][0]}; use a normalisation, relu, or a residual net.")  # fmt: skip
        name, largest = max(zip((n for n, _ in layers), norms, strict=True), key=lambda pair: pair[1])
        if largest > EXPLODING:
            self.add(
                "exploding",
                f"Gradients explode: those of {name} are {largest:.0e} on average; try --clip 1 or a lower --lr.",
            )

    def gap(self, training: float, validation: float, progress: float) -> None:
        """Over-fitting: the loss on validation rows far above the loss on training rows."""
        if progress > 0.3 and validation > 2 * training + 0.1:
            self.add("gap", f"It over-fits: loss {validation:.3g} on validation rows, {training:.3g} on training rows; "
                     "more data, augmentation, dropout or a smaller net would help more than longer training.")  # fmt: skip

    def learning(self, loss: float, knowing_nothing: float | None, progress: float) -> None:
        """Learning that does not learn."""
        if knowing_nothing and progress > 0.25 and loss > 0.98 * knowing_nothing:
            self.add("stuck", f"It does not learn: validation loss {loss:.3g} where knowing nothing gives {knowing_nothing:.3g}; "
                     "the inputs may not tell the target, or --lr is far off.")  # fmt: skip
