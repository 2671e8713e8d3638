"""Reading texts: which tokens, how many, and how much of a text, chosen from the training rows for a net."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from lamina.core import catalog
from lamina.core.errors import SettingError
from lamina.data._table import TRAIN, Field, Table
from lamina.data._tokens import Tokens
from lamina.train.recipe import Recipe
from lamina.train.weights import Source

MOST = 0.98  # share of the texts that are read whole where the net can
LONGEST = 400  # tokens of a text where the net's file does not say
SAMPLE = 20_000  # training texts that tokens are made from
LEAST = 8
SENTENCE = 8  # words in half of the texts, from which on they are read beside other columns
UPDATES = 400  # at least, of a few texts
RECIPE = {
    "schedule": "one_cycle",
    "epochs": 12.0,
    "patience": None,
    "clip": 1.0,
    "batch": 32,
}  # where the net says nothing


def without_names(table: Table, net: str | None, takes: Iterable[str] = ("text",)) -> tuple[Table, list[str]]:
    """The table without texts of few words beside other columns, which are names: a net learns them by heart.

    A net that reads texts gets all of them when it was asked for; a task that `takes` (kinds of input) no texts gets none.
    """
    beside = [f.name for f in table.inputs if f.kind == "text"]
    if not any(kind.startswith("text") for kind in takes) and len(beside) < len(table.inputs):
        columns = {n: c for n, c in table.columns.items() if n not in beside}
        return table.with_(columns=columns), [f"{n}: text, left out; this task reads none." for n in beside]
    reads = net and "tokens" in catalog.find("nets", net.partition("/")[0]).TAKES
    texts = [f for f in table.inputs if f.kind == "text"]
    if reads or len(texts) == len(table.inputs) or not texts:
        return table, []
    named = [f.name for f in texts if np.median([len(t.split()) for t in table[f.name].values[:SAMPLE]]) < SENTENCE]
    columns = {n: c for n, c in table.columns.items() if n not in named}
    why = [f"{n}: texts of few words, left out as names (--net bag_of_words reads them)." for n in named]
    return table.with_(columns=columns), why


def with_tokens(
    table: Table, name: str, wish: Recipe, usual: str = "", given: Source | None = None
) -> tuple[Table, list[str]]:
    """The table whose text columns know their tokens and how many of them are read, with what there is to say.

    usual: what texts are cut into for the task; "" where the net says. given: weights that the net begins with; their tokens are
    taken where no others were asked for.

    Raises SettingError for a net that reads no text, and for settings of tokens where there is no text.
    """
    net, texts = catalog.find("nets", name), [f for f in table.inputs if f.kind == "text"]
    if not texts:
        running = any(f.kind in ("running", "sentence") for f in table.inputs)  # cut into tokens where it was read
        for setting in ("longest",) if running else ("tokens", "vocabulary", "longest"):
            if getattr(wish, setting) not in (None, "auto"):
                raise SettingError(f"--{setting} is for texts, and {table.source} has none.")
        if not running and "tokens" in net.TAKES and "image" not in net.TAKES:
            held = ", ".join(f"{f.name} ({f.kind})" for f in table.inputs[:6])
            raise SettingError(f"{name} reads texts, and no column of {table.source} is one: {held}; try --net mlp.")
        return table, []
    if "tokens" not in net.TAKES:
        return _without(table, texts, name)
    kind = wish.tokens if wish.tokens != "auto" else usual or getattr(net, "TOKENS", "words")
    rows = table.rows(TRAIN)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, SAMPLE).astype(int))]
    values = [table[f.name].values[rows] for f in texts]
    most = getattr(net, "LONGEST", LONGEST)
    if given and given.tokens and wish.tokens == "auto" and not wish.vocabulary:
        places = given.settings.get(
            "context", given.settings.get("length", most + len(texts))
        )  # of <start> and <end> too
        table, why = _cut(table, texts, values, given.tokens, wish.longest, min(most, places - len(texts)))
        return table, [f"Tokens are those of {given.name}.", *why]
    tokens = Tokens.fit((text for column in values for text in column), kind, wish.vocabulary)
    return _cut(table, texts, values, tokens, wish.longest, most)


def recipe(net: ModuleType, rows: int) -> dict[str, Any]:
    """What suits texts, and what the net's file says of itself; of few texts smaller batches and more passes."""
    found = {**RECIPE, **getattr(net, "RECIPE", {})}
    found["batch"] = min(found["batch"], max(16, 2 ** int(math.log2(max(2, rows / 25)))))
    found["epochs"] = max(found["epochs"], float(math.ceil(UPDATES * found["batch"] / rows)))
    return found


def sizes(name: str, net: ModuleType, inputs: Sequence[Field]) -> dict[str, Any]:
    """What texts say about a net's Config: vocabulary, context. Raises SettingError for a net that reads nothing beside them."""
    texts = [f for f in inputs if f.kind == "text" and f.tokens]
    if not texts:
        return {}
    if len(texts) < len(inputs) and not set(net.TAKES) & {"numbers", "image"}:
        other = next(f.name for f in inputs if f.kind != "text")
        raise SettingError(f"{name} reads texts alone; try --net bag_of_words, or leave {other} out with --ignore.")
    places = sum(f.shape[0] + 1 for f in texts)
    return {"vocabulary": len(texts[0].tokens or ()), "context": places, "length": places}


def _without(table: Table, texts: list[Field], name: str) -> tuple[Table, list[str]]:
    """The table without its texts, which the net cannot read; an error when nothing else is there."""
    left = ", ".join(f.name for f in texts)
    if len(texts) == len(table.inputs):
        raise SettingError(f"{name} reads no text, and {table.source} has nothing else; try --net bag_of_words.")
    columns = {n: c for n, c in table.columns.items() if n not in {f.name for f in texts}}
    return table.with_(columns=columns), [f"{left}: free text, left out ({name} reads none; bag_of_words does)."]


def _cut(
    table: Table, texts: list[Field], values: list[np.ndarray], tokens: Tokens, wish: int | None, most: int
) -> tuple[Table, list[str]]:
    why = [f"Texts are read as {tokens.kind}, {len(tokens):,} different tokens; {tokens.promise}"]
    lengths = [np.diff(tokens.encode_many(column.tolist())[1]) for column in values]
    usual = [max(LEAST, int(np.quantile(length, MOST))) for length in lengths]
    share = most / max(most, sum(usual))  # several columns share what the net can read
    for field, length, whole in zip(texts, lengths, usual, strict=True):
        longest = wish or max(LEAST, int(min(whole, max(share * whole, most / len(texts)))))
        cut = float((length > longest).mean())
        if cut:
            why.append(
                f"{field.name}: the first {longest:,} tokens are read; {cut:.1%} of the texts are longer and are cut."
            )
        known = replace(field, tokens=tokens, shape=(longest,))
        table = table.with_column(replace(table[field.name], field=known))
    return table, why
