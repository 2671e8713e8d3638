"""Work on all cores by threads: decoding, hashing, checksums and reading let other threads run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from lamina.core.device import cores

PART = 8  # items that a thread takes at once: handing over one at a time costs a quarter of hashing a photograph


def in_threads(function: Callable[[Any], Any], items: Any) -> list[Any]:
    """function of every item of a list, range or array, in order."""
    parts = [items[start : start + PART] for start in range(0, len(items), PART)]
    if len(parts) < 2:
        parts = [items[i : i + 1] for i in range(len(items))]
    return [
        result for made in ahead(lambda i: [function(item) for item in parts[i]], len(parts), 64) for result in made
    ]


def ahead(function: Callable[[int], Any], count: int, window: int) -> Iterator[Any]:
    """function of 0 .. count - 1, in order; no more than `window` are begun before the first of them was taken.

    The next one begins when the iterator is asked again: until then what was taken is the caller's.
    """
    begun: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(cores()) as pool:
        try:
            for i in range(count):
                if len(begun) == window:
                    yield begun.popleft().result()
                begun.append(pool.submit(function, i))
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
