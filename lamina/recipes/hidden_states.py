"""Hidden states: a net that only foresees the next sign of a hidden Markov chain comes to know the state behind it.

Rabiner 1989, https://doi.org/10.1109/5.18626 (the forward algorithm knows chain and signs, and is the best that can be). An LSTM
learns 200,000 signs as running text; a linear map from its units to the state, fitted on half of the held-out text, is judged on the
other half. Command: lamina recipe hidden_states. Results: RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

import lamina
from lamina.recipes._recipe import Outcome

SYSTEMS = ("S94",)
SEEDS = 3
HISTORY = {"": "no figure of the lectures; the forward algorithm is the bound"}
STATES, SIGNS, STAYS = 4, "abcdef", 0.9
LENGTH, HELD = 200_000, 20_000


def chain(length: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """states and signs (length,), the moves (states, states) and the shares of signs (states, signs)."""
    random = np.random.default_rng([seed, 31])
    moves = np.full((STATES, STATES), (1 - STAYS) / (STATES - 1))
    np.fill_diagonal(moves, STAYS)
    shares = random.dirichlet(np.full(len(SIGNS), 0.7), STATES)
    states, signs = np.zeros(length, int), np.zeros(length, int)
    go, show = random.random(length), random.random(length)
    for i in range(1, length):
        states[i] = min(STATES - 1, int(np.searchsorted(moves[states[i - 1]].cumsum(), go[i])))
    for state in range(STATES):
        own = states == state
        signs[own] = np.minimum(len(SIGNS) - 1, np.searchsorted(shares[state].cumsum(), show[own]))
    return states, signs, moves, shares


def forward(signs: np.ndarray, moves: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(length, states): how likely each state is after the signs up to here (Rabiner 1989, eq. 19 to 21)."""
    belief, found = np.full(STATES, 1 / STATES), np.zeros((len(signs), STATES))
    for i, sign in enumerate(signs):
        belief = (belief @ moves) * shares[:, sign]
        belief /= belief.sum()
        found[i] = belief
    return found


def run(quick: bool, seed: int, folder: Path, data: str | None) -> Outcome:
    """Share of held-out places whose hidden state is told, by the sign alone, the net's units, and the forward algorithm."""
    length, held = (2_000, 600) if quick else (LENGTH, HELD)
    states, signs, moves, shares = chain(length + held, seed)
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(SIGNS[s] for s in signs)
    (folder / "signs.txt").write_text(text[:length], encoding="utf-8")
    how: dict[str, Any] = {"steps": 3, "context": 16} if quick else {"minutes": 4.0, "epochs": 20, "context": 128}
    run_ = lamina.fit(
        folder / "signs.txt", run=folder / "lstm", net="char_rnn", net_settings={"width": 8 if quick else 64, "depth": 1},
        seed=seed, show=False, **how,
    )  # fmt: skip
    units = _units(run_, text[length:])
    true, half = states[length:], held // 2
    told = _linear(units[:half], true[:half], units[half:])
    exact = forward(signs[length:], moves, shares)[half:].argmax(1)
    alone = (shares / shares.sum(0)).argmax(0)[signs[length:]][half:]
    numbers = {
        "states told by the sign alone, %": 100 * float((alone == true[half:]).mean()),
        "states told by the units of the net, %": 100 * float((told == true[half:]).mean()),
        "states told by the forward algorithm, %": 100 * float((exact == true[half:]).mean()),
        "bits per sign": run_.score().numbers["bits_per_character"],
    }
    return Outcome(numbers, (run_,))


@torch.no_grad()
def _units(run_: Any, text: str) -> np.ndarray:
    """(signs, width): the last layer of the net after each sign."""
    tokens = torch.from_numpy(run_.task.tokens.encode(text).astype(np.int64))[None]
    return run_.net.layers(run_.net.embed(tokens.to(next(run_.net.parameters()).device)))[0][0].cpu().numpy()


def _linear(units: np.ndarray, states: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The state of the largest of the linear maps that fit the states by least squares."""
    one = np.concatenate([units, np.ones((len(units), 1))], 1).astype(np.float64)
    weights = np.linalg.solve(one.T @ one + np.eye(one.shape[1]), one.T @ np.eye(STATES)[states])
    return (np.concatenate([others, np.ones((len(others), 1))], 1) @ weights).argmax(1)
