"""Metrics: counts and times in Prometheus' text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

import bisect
import threading
from collections import defaultdict

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64)
KINDS = {
    "lamina_requests_total": ("counter", "requests answered, by address, method and status"),
    "lamina_refused_total": ("counter", "requests refused because the queue was full"),
    "lamina_swaps_total": ("counter", "models replaced while serving"),
    "lamina_request_seconds": ("histogram", "seconds from the request's last byte to the answer's first"),
    "lamina_batch_rows": ("histogram", "rows answered together"),
    "lamina_batch_seconds": ("histogram", "seconds of answering a batch"),
    "lamina_waiting": ("gauge", "requests in the queue"),
    "lamina_exact_rows": ("gauge", "rows of the largest batch that answers to the bit as rows alone"),
}
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters and histograms of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        self._spread: dict[str, dict[Labels, list[float]]] = defaultdict(dict)

    def add(self, metric: str, by: float = 1, **labels: str) -> None:
        """Count."""
        with self._lock:
            self._counts[metric][tuple(sorted(labels.items()))] += by

    def observe(self, metric: str, value: float, **labels: str) -> None:
        """Enter a value into a histogram."""
        bounds = ROWS if metric.endswith("rows") else SECONDS
        with self._lock:
            held = self._spread[metric].setdefault(tuple(sorted(labels.items())), [0.0] * (len(bounds) + 2))
            held[bisect.bisect_left(bounds, value)] += 1
            held[-1] += value

    def request(self, address: str, status: int, seconds: float) -> None:
        """Enter a request that was answered."""
        self.add("lamina_requests_total", address=address, status=str(status))
        self.observe("lamina_request_seconds", seconds, address=address)

    def batch(self, model: str, rows: int, seconds: float) -> None:
        """Enter a batch."""
        self.observe("lamina_batch_rows", rows, model=model)
        self.observe("lamina_batch_seconds", seconds, model=model)

    def count(self, metric: str) -> float:
        """The sum of a counter over its labels."""
        with self._lock:
            return sum(self._counts[metric].values())

    def text(self, gauges: dict[str, list[tuple[dict[str, str], float]]]) -> str:
        """All of it, with the gauges of this moment."""
        lines: list[str] = []
        with self._lock:
            for metric, (kind, about) in KINDS.items():
                lines += [f"# HELP {metric} {about}", f"# TYPE {metric} {kind}"]
                for labels, value in self._counts[metric].items() if kind == "counter" else ():
                    lines.append(f"{metric}{_braces(labels)} {value:g}")
                for labels, held in self._spread[metric].items() if kind == "histogram" else ():
                    lines += _histogram(metric, labels, held)
                for given, value in gauges.get(metric, []):
                    lines.append(f"{metric}{_braces(tuple(given.items()))} {value:g}")
        return "\n".join(lines) + "\n"


def _histogram(metric: str, labels: Labels, held: list[float]) -> list[str]:
    bounds, total, lines = ROWS if metric.endswith("rows") else SECONDS, 0.0, []
    for bound, count in zip([*map(str, bounds), "+Inf"], held, strict=False):
        total += count
        lines.append(f"{metric}_bucket{_braces((*labels, ('le', bound)))} {total:g}")
    return [*lines, f"{metric}_sum{_braces(labels)} {held[-1]:.9g}", f"{metric}_count{_braces(labels)} {total:g}"]


def _braces(labels: Labels) -> str:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return "{" + ",".join(f'{k}="{escaped(v)}"' for k, v in labels) + "}" if labels else ""
