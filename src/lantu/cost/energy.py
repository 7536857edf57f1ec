"""The energy of this process, measured where the machine lets itself be measured, else estimated, by codecarbon."""

import logging
import os
import threading
import time
import weakref
from typing import Any

from lantu.cost.prices import Economics
from lantu.errors import UserError

WATTS_PER_GIB = 0.375
"""Of memory in use: 3 W for 8 GiB, the figure of codecarbon's process mode (Crucial's, 2023)."""
SECONDS = 5.0
"""Between two measurements."""
_LOOKING: "weakref.WeakSet[threading.Thread]" = weakref.WeakSet()
"""Threads that look for hardware, or have."""


def _let_them_finish() -> None:
    """Looking starts programs, such as lscpu. A worker of the data that is forked at that very moment holds the other
    end of the program's pipe, and whoever waits for its end waits as long as the worker lives.
    """
    for each in tuple(_LOOKING):
        if each is not threading.current_thread():
            each.join()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_let_them_finish)


class EnergyMeter:
    """Energy since `start`, of this process alone: its share of the processor, its memory, and its own GPU.

    A GPU's energy is that of the whole device, as NVML counts it.
    """

    def __init__(self, economics: Economics, *, gpu: int | None = None) -> None:
        # codecarbon sets its own level when it is imported and speaks at every start
        logging.getLogger("codecarbon").addFilter(lambda record: record.levelno >= logging.ERROR)
        from codecarbon import OfflineEmissionsTracker

        self._tracker = OfflineEmissionsTracker(
            country_iso_code=economics.country.upper(),
            force_carbon_intensity_g_co2e_kwh=economics.grams_co2e_per_kwh,
            tracking_mode="process",
            measure_power_secs=SECONDS,
            gpu_ids=[] if gpu is None else [gpu],
            save_to_file=False,
            log_level="error",
            allow_multiple_runs=True,
        )
        self._looked = time.monotonic()
        self._memory_kwh = 0.0
        self._grams_per_kwh = economics.grams_co2e_per_kwh
        self._country = economics.country.upper()
        self._pue = economics.pue
        # looking for hardware takes a second, which training need not wait for
        self._starting = threading.Thread(target=self._tracker.start, daemon=True)
        self._starting.start()
        _LOOKING.add(self._starting)

    def is_ready(self) -> bool:
        """Whether the hardware has been found; until then memory alone is counted."""
        return not self._starting.is_alive()

    def wait(self) -> None:
        """Until it is ready."""
        self._starting.join()

    def kwh(self) -> float:
        """Energy so far, times the data centre's overhead."""
        now = time.monotonic()
        self._memory_kwh += WATTS_PER_GIB * resident_bytes() / 2**30 * (now - self._looked) / 3.6e6
        self._looked = now
        counted = 0.0
        if self.is_ready():
            self._tracker.flush()
            counted = self._tracker._total_cpu_energy.kWh + self._tracker._total_gpu_energy.kWh
        return float(counted + self._memory_kwh) * self._pue

    def source(self) -> str:
        """How the energy is known: measured (NVML, RAPL) or estimated, by part; empty until it is ready."""
        if not self.is_ready():
            return ""
        parts = []
        for hardware in self._tracker._hardware:
            kind = type(hardware).__name__
            if kind == "CPU":
                measured = "rapl" in str(getattr(hardware, "_mode", ""))
                parts.append("cpu measured (RAPL)" if measured else "cpu estimated from its load")
            elif kind == "GPU":
                parts.append("gpu measured (NVML)")
        return ", ".join([*parts, "memory estimated"])

    def grams_co2e_per_kwh(self) -> float:
        """Of the country's electricity, as codecarbon's table has it (Our World in Data), or as the config says."""
        if self._grams_per_kwh is None:
            self._grams_per_kwh = carbon_intensity(self._country)
        return self._grams_per_kwh

    def stop(self) -> None:
        """End the measuring thread."""
        self.wait()
        self._tracker.stop()


def carbon_intensity(country: str) -> float:
    """Grams of CO2e for a kWh of a country's electricity, yearly mean.

    Raises:
        UserError: codecarbon's table lacks the country.
    """
    from codecarbon.input import DataSource

    table: dict[str, Any] = DataSource().get_global_energy_mix_data()
    if country not in table:
        raise UserError(
            f"`economics.country={country}`: the carbon intensity of that country is not known; give another country's "
            "three letters, or `economics.grams_co2e_per_kwh`."
        )
    return float(table[country]["carbon_intensity"])


def resident_bytes() -> int:
    """Memory that this process holds now."""
    import psutil

    return int(psutil.Process(os.getpid()).memory_info().rss)
