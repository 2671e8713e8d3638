"""How far the resizing inside an ONNX file lies from Lamina's own: python bench/resize.py [FOLDER]

Crops of real photographs (scikit-learn's two, or those of FOLDER) in several sizes are brought into several frames, by
lamina.data._decode.fit, as training and asking do it, and by the graph that is exported. Results go into bench/results.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import sklearn.datasets
import torch

from lamina.core.device import machine
from lamina.data._decode import decode, fit
from lamina.data._pictures import SUFFIXES
from lamina.ship._graph import Cover

FRAMES = ((1, 28, 28), (3, 20, 24), (3, 64, 64), (3, 96, 96), (3, 224, 224))
SIZES = ((30, 21), (41, 90), (101, 157), (128, 128), (240, 240), (300, 200), (427, 640))  # height and width of crops
CROPS = 5


def main() -> None:
    """Measure, print and write the table."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(sklearn.datasets.__file__).parent / "images"
    photographs = [decode(p) for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES]
    random = np.random.default_rng(0)
    lines = ["| frame | crops | largest difference | mean | pixels that differ |", "|---|---|---|---|---|"]
    everything = []
    for frame in FRAMES:
        cover, apart = Cover(*frame), []
        for size in (*SIZES, frame[1:]):
            for number in range(CROPS):
                whole = photographs[number % len(photographs)]
                top, left = (int(random.integers(0, whole.shape[i] - size[i] + 1)) for i in (0, 1))
                crop = np.ascontiguousarray(whole[top : top + size[0], left : left + size[1]])
                with torch.no_grad():
                    mine = cover(torch.from_numpy(crop)[None])[0].permute(1, 2, 0).numpy()
                apart.append(np.abs(mine - fit(crop, *frame[1:], frame[0])).ravel())
                assert size != frame[1:] or not apart[-1].any()  # the frame's size passes unchanged
        values = np.concatenate(apart)
        everything.append(values)
        shown = f"{frame[1]}x{frame[2]}, {'grey' if frame[0] == 1 else 'colour'}"
        lines.append(
            f"| {shown} | {len(apart)} | {values.max():.0f} | {values.mean():.4f} | {(values > 0).mean():.2%} |"
        )
    values = np.concatenate(everything)
    about = machine()
    lines += [
        "",
        f"In levels of 255; all together {values.max():.0f} at most, {values.mean():.4f} on average. Crops of "
        f"{', '.join(f'{h}x{w}' for h, w in SIZES)} pixels and of the frame's own size, which pass unchanged.",
        "",
        f"Measured by `python bench/resize.py` on {len(photographs)} photographs; {about['processor']}, torch "
        f"{about['torch']}, lamina {about['lamina']}, {time.strftime('%Y-%m-%d')}.",
    ]
    told = "\n".join(lines) + "\n"
    (Path(__file__).parent / "results" / "resize.md").write_text(told)
    print(told)


if __name__ == "__main__":
    main()
