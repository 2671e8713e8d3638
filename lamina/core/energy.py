"""Energy that the machine says it used: counters of the processor (Linux RAPL) and of NVIDIA accelerators (NVML).

Both count for the whole machine, whatever else runs on it. RAPL is read from /sys/class/powercap, which often only the
administrator may: https://docs.kernel.org/power/powercap/powercap.html. A machine that has neither tells nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
COUNTED = (
    "package",
    "dram",
)  # zones that do not lie inside one another; "core" is a part of a package, "psys" holds all
NVML = "libnvidia-ml.so.1"  # what nvidia-smi asks


class Meter:
    """Counts from its making on; `read` it at least once an hour: counters begin anew after so much."""

    def __init__(self, powercap: Path = POWERCAP, accelerator: Callable[[], float | None] | None = None) -> None:
        self.begun = time.monotonic()
        self._zones = zones(powercap)
        self._seen = {path: _microjoules(path) for path in self._zones}
        self._joules = 0.0
        self._accelerator = accelerator
        self._first = accelerator() if accelerator else None

    def read(self) -> None:
        """Take in what was used since the last time."""
        for path, most in self._zones.items():
            now, before = _microjoules(path), self._seen[path]
            if now is not None and before is not None:
                self._joules += (now - before if now >= before else now - before + most) / 1e6
            self._seen[path] = now if now is not None else before

    def to_json(self) -> dict[str, Any]:
        """joules by part, and the seconds that they are of; {"joules": {}} where the machine does not tell."""
        self.read()
        found = {"processor": round(self._joules, 1)} if self._zones else {}
        last = self._accelerator() if self._accelerator else None
        if last is not None and self._first is not None:
            found["accelerator"] = round(max(0.0, last - self._first), 1)
        return {"joules": found, "seconds": round(time.monotonic() - self.begun, 1)}


def zones(root: Path) -> dict[Path, int]:
    """Counter file -> microjoules after which it begins anew; {} where there is none that may be read."""
    found: dict[Path, int] = {}
    with contextlib.suppress(OSError):
        for zone in sorted(root.iterdir()):
            with contextlib.suppress(OSError, ValueError):
                name = (zone / "name").read_text(encoding="ascii").strip()
                if name.startswith(COUNTED) and _microjoules(zone / "energy_uj") is not None:
                    most = int((zone / "max_energy_range_uj").read_text(encoding="ascii"))
                    found[zone / "energy_uj"] = most
    return found


def _microjoules(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def of_accelerator(index: int, library: Any = None) -> Callable[[], float | None] | None:
    """What tells the joules that an NVIDIA accelerator has used since its driver was loaded; None where nothing does."""
    try:
        nvml = library or ctypes.CDLL(NVML)
        handle = ctypes.c_void_p()
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
            return None
    except (OSError, AttributeError):
        return None

    def joules() -> float | None:
        millijoules = ctypes.c_ulonglong()
        try:
            failed = nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
        except AttributeError:
            return None
        return None if failed else millijoules.value / 1000

    return joules if joules() is not None else None
