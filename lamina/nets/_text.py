"""What nets for texts share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SPECIAL = 4  # tokens below it are padding, unknown, start, end
PER = ("text", "token", "mask")  # what nets may answer: a text, every token of it, or tokens that were hidden
POOLS = ("mean", "first")


class TokenVectors(nn.Embedding):
    """tokens (B, T) int64 -> (B, T, D): a learned vector each; in training a share `unknown` of the tokens is token 1.

    Weight decay would pull rare tokens to nothing, so it has none. What is made unknown teaches the net to do without a word,
    and what the vector of unknown words is.
    """

    decays = False

    def __init__(self, vocabulary: int, width: int, unknown: float = 0.0) -> None:
        super().__init__(vocabulary, width)
        self.unknown = unknown

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.1)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(without_some(input, self.unknown) if self.training else input)


def pooled(x: Tensor, mask: Tensor, pool: str) -> Tensor:
    """x (B, T, D) -> (B, D): the first token's, or the mean over the tokens that `mask` (B, T) shows."""
    if pool == "first":
        return x[:, 0]
    held = mask.unsqueeze(2).to(x.dtype)
    return (x * held).sum(1) / held.sum(1).clamp(min=1)


def without_some(tokens: Tensor, share: float) -> Tensor:
    """The same tokens with a share of them unknown (1); padding and other special tokens stay."""
    if not share:
        return tokens
    return tokens.masked_fill((torch.rand(tokens.shape, device=tokens.device) < share) & (tokens >= SPECIAL), 1)
