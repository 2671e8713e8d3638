"""The peers of bench/write.py: the same nets in plain PyTorch, a plain loop around them, as nanoGPT lays one out, and one by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Causal attention: `fused` by torch's function, else by products and a softmax (faster in bfloat16 on processors)."""

    fused = True

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.ask, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = (p.view(b, t, self.heads, c // self.heads).transpose(1, 2) for p in self.ask(x).split(c, 2))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            hidden = torch.ones(t, t, dtype=torch.bool).triu(1)
            score = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).masked_fill(hidden, float("-inf"))
            y = score.softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(b, t, c))


class Block(nn.Module):
    """Attention and two dense layers, each of the normalised x."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.one, self.two, self.attention = nn.LayerNorm(width), nn.LayerNorm(width), Attention(width, heads)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.one(x))
        return x + self.dense(self.two(x))


class GPT(nn.Module):
    """tokens (B, T) -> logits (B, T, V)."""

    def __init__(self, vocabulary: int, depth: int, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.place(torch.arange(tokens.shape[1]))
        return F.linear(self.norm(self.blocks(x)), self.embed.weight)


class LSTM(nn.Module):
    """tokens (B, T) -> logits (B, T, V)."""

    def __init__(self, vocabulary: int, depth: int, width: int) -> None:
        super().__init__()
        self.embed, self.layers = nn.Embedding(vocabulary, width), nn.LSTM(width, width, depth, batch_first=True)
        self.answer = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.answer(self.layers(self.embed(tokens))[0])


class Loop:
    """Batches cut from a text at random places, AdamW, gradients clipped to norm 1.

    by_hand: mixed precision with bfloat16, attention by products, one kernel for the optimizer, freed memory kept.
    """

    def __init__(self, net: nn.Module, text: Tensor, batch: int, length: int, by_hand: bool = False) -> None:
        self.net, self.text, self.batch, self.length, self.by_hand = net, text, batch, length, by_hand
        Attention.fused = not by_hand
        self.optimizer = torch.optim.AdamW(
            net.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=by_hand
        )

    def __call__(self, _: int) -> Tensor:
        places = torch.randint(len(self.text) - self.length - 1, (self.batch,))
        x = torch.stack([self.text[i : i + self.length] for i in places])
        y = torch.stack([self.text[i + 1 : i + 1 + self.length] for i in places])
        with torch.autocast("cpu", torch.bfloat16, enabled=self.by_hand):
            loss = F.cross_entropy(self.net(x).flatten(0, 1), y.flatten())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        return loss


@torch.no_grad()
def write(net: nn.Module, length: int, context: int) -> list[int]:
    """A text, drawn token by token; the net reads all of it anew for each."""
    net.eval()
    text = torch.tensor([[5]])
    for _ in range(length):
        share = net(text[:, -context:])[:, -1].softmax(-1)
        text = torch.cat([text, torch.multinomial(share, 1)], 1)
    return text[0].tolist()
