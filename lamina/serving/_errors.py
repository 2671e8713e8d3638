"""What a request is refused with: a status and one sentence, which names no path of the machine."""

from __future__ import annotations

from lamina.core.errors import LaminaError


class Refused(LaminaError):
    """A request that is not answered: its HTTP status, why, and after how many seconds to come again (503)."""

    def __init__(self, status: int, why: str, again: int | None = None) -> None:
        super().__init__(why)
        self.status, self.why, self.again = status, why, again
