"""Training: `fit` is the loop itself, a generator of Reports (engine.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamina.train.engine import Report, fit
    from lamina.train.recipe import Recipe

__all__ = ["Recipe", "Report", "fit"]


def __getattr__(name: str) -> Any:
    """Import torch only when the loop is used."""
    if name in ("fit", "Report"):
        from lamina.train import engine

        return getattr(engine, name)
    if name == "Recipe":
        from lamina.train.recipe import Recipe

        return Recipe
    raise AttributeError(f"module 'lamina.train' has no attribute '{name}'")
