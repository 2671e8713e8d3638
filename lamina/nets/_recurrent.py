"""What recurrent nets share: cells by name, and weights between states that neither grow nor shrink what passes.

Cells: lstm (Hochreiter 1997, https://doi.org/10.1162/neco.1997.9.8.1735, with the forget gates of Gers 2000), gru (Cho 2014,
https://arxiv.org/abs/1406.1078), plain (Elman 1990). Torch's fused kernels run them.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"plain": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def initialise(layers: nn.RNNBase, forget: str, quiet: bool = False) -> nn.RNNBase:
    """Orthogonal between states; gates that forget are open at first (Jozefowicz 2015): by the bias whose name begins so.

    quiet: all other biases are zero.
    """
    width = layers.hidden_size
    for name, weight in layers.named_parameters():
        if name.startswith("weight_hh"):
            for part in weight.data.split(width):
                nn.init.orthogonal_(part)
        elif name.startswith("bias"):
            if quiet:
                weight.data.zero_()
            if layers.mode == "LSTM" and name.startswith(forget):
                weight.data[width : 2 * width] = 1.0
    return layers
