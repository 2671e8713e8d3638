"""Beam search over a batch of sentences at once. Length normalisation: Wu 2016, https://arxiv.org/abs/1609.08144, eq. 14."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lamina.data._tokens import END, PADDING, START, UNKNOWN


@torch.inference_mode()
def search(
    net: nn.Module, tokens: Tensor, mask: Tensor, most: int, beam: int = 4, alpha: float = 0.6
) -> list[list[int]]:
    """The best translation of each sentence: ids without START and END, `most` at most.

    tokens and mask (B, S). A hypothesis is scored by its log probability over ((5 + length) / 6) ** alpha. A sentence is done
    when no hypothesis that goes on can beat its best finished one; beam 1 always takes the likeliest token.
    """
    b, where = len(tokens), tokens.device
    state = net.read(tokens, mask)  # type: ignore[operator]
    net.choose(state, torch.arange(b, device=where).repeat_interleave(beam))  # type: ignore[operator]
    scores = torch.full((b, beam), -torch.inf, device=where)
    scores[:, 0] = 0.0  # all begin alike: one of them counts
    written = torch.full((b * beam, 1), START, device=where)
    best: list[tuple[float, list[int]]] = [(-torch.inf, [])] * b
    done, limits = torch.zeros(b, dtype=torch.bool, device=where), (mask.sum(1) * 2 + 10).clamp(max=most)
    for length in range(1, most + 1):
        logits = net.go_on(written[:, -1:], state)[:, -1].float()  # type: ignore[operator]
        logits[:, [PADDING, UNKNOWN, START]] = -torch.inf
        likely = logits.log_softmax(-1).view(b, beam, -1)
        total = (scores[:, :, None] + likely).flatten(1)
        chosen, at = total.topk(2 * beam, 1)  # enough that `beam` of them go on
        vocabulary = likely.shape[2]
        source, token = at // vocabulary, at % vocabulary
        ended = token == END
        _finish(best, done, chosen, source, ended, written.view(b, beam, -1), length, beam, alpha)
        going = chosen.masked_fill(ended, -torch.inf).topk(beam, 1)
        scores = going.values
        source, token = source.gather(1, going.indices), token.gather(1, going.indices)
        rows = (source + torch.arange(b, device=where)[:, None] * beam).flatten()
        written = torch.cat([written[rows], token.view(-1, 1)], 1)
        norm = ((5 + limits) / 6.0) ** alpha if alpha else torch.ones_like(scores[:, 0])
        reach = scores.max(1).values / norm  # the most that a longer one can come to
        done |= torch.tensor([score for score, _ in best], device=where) >= reach
        done |= length >= limits
        if bool(done.all()):
            break
        net.choose(state, rows, within=True)  # type: ignore[operator]
    rest = written.view(b, beam, -1)
    return [ids if score > -torch.inf else rest[i, 0, 1:].tolist() for i, (score, ids) in enumerate(best)]


def _finish(
    best: list[tuple[float, list[int]]], done: Tensor, chosen: Tensor, source: Tensor, ended: Tensor, written: Tensor,
    length: int, beam: int, alpha: float,
) -> None:  # fmt: skip
    """Take in the hypotheses that ended among the first `beam` of a sentence that is not done."""
    norm = ((5 + length) / 6) ** alpha
    for i, place in (ended[:, :beam] & ~done[:, None]).nonzero().tolist():
        score = float(chosen[i, place]) / norm
        if score > best[i][0]:
            best[i] = (score, written[i, int(source[i, place]), 1:].tolist())
