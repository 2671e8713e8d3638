"""Guards at borders: they name the tensor, the axis and the value, and cost nothing inside compiled code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.core.errors import DataError, SettingError

if TYPE_CHECKING:
    from torch import Tensor


def shape(name: str, tensor: Tensor, wanted: str, sizes: tuple[int | None, ...]) -> None:
    """Raise DataError unless tensor's shape is `sizes` (None: any); `wanted` names the axes: "batch channels height width"."""
    found = tuple(tensor.shape)
    if len(found) != len(sizes) or any(s is not None and s != f for s, f in zip(sizes, found, strict=True)):
        axes = wanted.split()
        text = ", ".join(a if s is None else f"{a} = {s}" for a, s in zip(axes, sizes, strict=True))
        raise DataError(f"{name} must be ({text}), not {found}.")


def within(name: str, value: float, low: float, high: float, hint: str = "") -> None:
    """Raise SettingError unless low <= value <= high (NaN never passes)."""
    if not low <= value <= high:
        way_out = f" {hint}" if hint else ""
        raise SettingError(f"{name} must be between {low:g} and {high:g}, not {value:g}.{way_out}")


def divides(part: str, part_value: int, whole: str, whole_value: int) -> None:
    """Raise SettingError unless part_value divides whole_value, and offer the nearest that do."""
    if part_value < 1 or whole_value % part_value:
        near = sorted((n for n in range(1, whole_value + 1) if whole_value % n == 0), key=lambda n: abs(n - part_value))
        tries = " or ".join(str(n) for n in sorted(near[:2]))
        raise SettingError(f"{part} (={part_value}) must divide {whole} (={whole_value}); try {tries}.")
