"""The machine: accelerator, cores, memory, threads, time since the process began. torch is imported only where needed."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from typing import TYPE_CHECKING, Any

from lamina.core.errors import SettingError

if TYPE_CHECKING:
    import torch

_IMPORTED = time.time()


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """Threads for a library that counts the machine's cores: LAMINA_THREADS, or the cores allowed; 0 (as it likes) where that is all."""
    wanted = os.environ.get("LAMINA_THREADS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    return cores() if cores() < (os.cpu_count() or 1) else 0


def memory() -> int:
    """Bytes of main memory, or the limit of the control group when that is less; 0 when unknown."""
    total = 0
    with contextlib.suppress(ValueError, OSError, AttributeError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            total = min(total or 1 << 62, int(file.read()))
    return total


STARTING = 15.0  # seconds that an interpreter needs at most to come here


def process_age() -> float:
    """Seconds since this process began (on Linux from /proc; elsewhere since Lamina was imported).

    A shell's last command takes its process over, which is as old as the shell: beyond STARTING the processor's time counts.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        with open("/proc/uptime", encoding="ascii") as file:
            age = max(0.0, float(file.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK"))
        return age if age < STARTING else time.process_time()
    return time.time() - _IMPORTED


def choose(wanted: str = "auto") -> torch.device:
    """A device by name: auto (the accelerator if there is one), cpu, cuda, cuda:1, mps. Raises SettingError."""
    import torch

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if wanted == "auto":
        return torch.device(accelerator.type) if accelerator else torch.device("cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise SettingError(f"device must be auto, cpu, cuda or mps, not '{wanted}'.") from None
    if device.type != "cpu" and (accelerator is None or accelerator.type != device.type):
        raise SettingError(
            f"device '{wanted}' is not there; this machine has {accelerator.type if accelerator else 'only cpu'}."
        )
    return device


def bfloat16_pays(where: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32: on processors without units for them they are not."""
    import torch

    if where.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if where.type != "cpu":
        return False
    seconds = []
    for kind in (torch.float32, torch.bfloat16):
        matrix = torch.ones(256, 256, dtype=kind)
        times = []
        for _ in range(10):
            start = time.perf_counter()
            torch.mm(matrix, matrix)
            times.append(time.perf_counter() - start)
        seconds.append(min(times))
    return seconds[1] < seconds[0]


def seed(number: int, where: torch.device) -> None:
    """Seed the default generator of a device; torch.manual_seed would format a traceback each time (0.5 ms)."""
    import torch

    if where.type == "cuda":
        torch.cuda.default_generators[where.index or 0].manual_seed(number)
    elif where.type == "cpu":
        torch.default_generator.manual_seed(number)
    else:
        torch.manual_seed(number)


def machine() -> dict[str, Any]:
    """What a result depends on: versions, processor, cores, threads, accelerator."""
    import torch

    from lamina import __version__

    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "lamina": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(memory() / 2**30, 1),
        "accelerator": accelerator,
    }


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def keep_freed_memory() -> bool:
    """Let the C allocator keep freed memory instead of returning it to the system; True when it could be set.

    Each training step frees and takes the same large blocks, and every fresh page costs a fault.
    """
    if platform.system() != "Linux":
        return False
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
        return bool(libc.mallopt(M_MMAP_MAX, 0)) and bool(libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
    return False
