"""attention: which words a transformer looks at, layer by layer, and what comes through all layers (rollout); of a translation, word by word.

Rollout: the mean share of the heads and the way round them, half each, multiplied over the layers. Abnar 2020,
https://arxiv.org/abs/2005.00928, section 3. Shares are what a layer looks at, which is not all that an answer depends on (Jain 2019,
https://arxiv.org/abs/1902.10186): compare integrated_gradients and occlusion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lamina.core.errors import SettingError
from lamina.explain import _aligned, _draw, _square, _words
from lamina.explain._method import Explanation, Question, about, array, scores
from lamina.explain._taps import Seen, recording, untouched
from lamina.nets._attention import SelfAttention
from lamina.tasks._task import Batch, Task


@dataclass(frozen=True)
class Config:
    """Which layer is drawn."""

    layer: int = 0
    """number of the layer whose square is drawn, from 1; 0: the last"""


def explain(task: Task, net: nn.Module, batch: Batch, question: Question, config: Config) -> Explanation:
    """rollout (words,): share of each word in what the answer is made of, sum at most 1; shares (layers, heads, tokens, tokens).

    Of a translation: what each of its words looks at (_aligned.py). Raises SettingError for a net without such attention, without a text, and for a layer that is not there.
    """
    if _aligned.translates(task):
        return _aligned.explain(task, net, batch, question)
    words = _words.words_of("attention", batch, question)
    with untouched(net) as inner, torch.no_grad():
        what = about(task, inner, batch, question)
        with recording(inner, lambda m: isinstance(m, SelfAttention)) as seen:
            scores(task, inner, batch)
        if not seen:
            raise SettingError("attention needs a transformer that reads texts (--net transformer); try occlusion.")
        shares = torch.stack([_shares(one) for one in seen])  # (layers, heads, T, T)
        if not 0 <= config.layer <= len(shares):
            raise SettingError(f"layer (={config.layer}) must be between 1 and {len(shares)}; 0 is the last.")
        whole = torch.eye(shares.shape[3], device=shares.device)
        for share in shares.mean(1):
            whole = (share + torch.eye(len(share), device=share.device)) / 2 @ whole
    read = {"first": 0, "last": -1}.get(getattr(inner, "pool", "mean"))
    received = whole.mean(0) if read is None else whole[read]
    rollout = words.summed(array(received))
    layer = config.layer or len(shares)
    title = f"Attention: {what}"
    said = f"share of each word in what all {len(shares)} layers hand to the answer, mean of {shares.shape[1]} heads"
    paragraph = _words.picture(words, rollout, title, said, "share (rollout)")
    table = _square.of_words(words, words, array(shares[layer - 1].mean(0)))
    square = _square.picture(words, words, table, f"layer {layer}: each word (row) looks at each (column)")
    canvas = Image.new("RGB", (max(paragraph.width, square.width), paragraph.height + square.height), _draw.PAPER)
    canvas.paste(paragraph, (0, 0))
    canvas.paste(square, (0, paragraph.height))
    order = np.argsort(-rollout, kind="stable")[:3]
    summary = f"Looked at most: {', '.join(words.names[i] for i in order)}."
    arrays = {"rollout": rollout, "shares": array(shares)}
    page = _words.page(words, rollout, title, said)
    return Explanation("attention", str(what), arrays, canvas, summary, page, words.names)


def _shares(seen: Seen) -> Tensor:
    """(heads, T, T) of a layer, computed anew from what it took; rows sum to 1. The row has no padding."""
    module, taken = seen.module, seen.taken
    assert isinstance(module, SelfAttention) and taken is not None
    query, key, _ = module.parts(taken)
    score = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
    if module.causal:
        score = score.masked_fill(torch.ones_like(score[0, 0], dtype=torch.bool).triu(1), -torch.inf)
    return score.softmax(-1)[0]
