"""aligned: which words of a sentence each word of its translation looks at. Bahdanau 2014, https://arxiv.org/abs/1409.0473, figure 3."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from lamina.core.errors import SettingError
from lamina.data._tokens import START
from lamina.explain import _square, _words
from lamina.explain._method import Explanation, Question, array
from lamina.explain._taps import untouched
from lamina.tasks._beam import search
from lamina.tasks._task import Batch, Task
from lamina.tasks.translate import ALPHA, BEAM

TOLD = 3  # pairs in the summary


def translates(task: Task) -> bool:
    """Whether the task answers a sentence with another."""
    return task.target.kind == "sentence"


def explain(task: Any, net: nn.Module, batch: Batch, question: Question) -> Explanation:
    """shares (words written, words read): what each word of the answer looks at while it is written; tokens: the same of tokens.

    Of a transformer the last layer's, mean of its heads. Raises SettingError for a net that knows the last state alone.
    """
    read = _words.words_of("attention", batch, question)
    with untouched(net) as inner, torch.no_grad():
        net_: Any = inner
        tokens, mask = batch["tokens"], batch["mask"]
        ids = search(inner, tokens, mask, task.most, BEAM, ALPHA)[0]
        state = net_.read(tokens, mask)
        net_.go_on(torch.tensor([[START, *ids[:-1]]], device=tokens.device), state)  # of an empty answer its end alone
    if state["attention"] is None:
        raise SettingError(
            "this net knows the last state of the sentence alone; --net.attention luong looks at its words."
        )
    own = Question(inputs=(task.target,))
    nothing = _words.Words(("<end>",), ((0,),))
    written = _words.words_of("attention", {"tokens": torch.tensor([ids])}, own) if ids else nothing
    seen = array(state["attention"][0])
    shares = _square.of_words(written, read, seen)
    said = "each word written (row) looks at each word read (column)"
    order = np.argsort(-shares.max(1), kind="stable")[:TOLD]
    pairs = [
        f"{written.names[i]} at {read.names[int(shares[i].argmax())]} ({100 * shares[i].max():.0f} %)" for i in order
    ]
    return Explanation(
        "attention",
        task.tokens.decode(ids),
        {"shares": shares, "tokens": seen},
        _square.picture(written, read, shares, said),
        f"Looked at most: {', '.join(pairs)}.",
        names=read.names,
    )
