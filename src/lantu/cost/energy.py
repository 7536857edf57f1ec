"""Energy of this process, through codecarbon: measured if the hardware has counters, otherwise estimated."""

import logging
import math
import os
import threading
import time
import weakref
from functools import lru_cache
from typing import Any

from lantu.cost.prices import Economics
from lantu.errors import UserError

WATTS_PER_GIB = 0.375
"""Power of memory in use: 3 W for 8 GiB, as in codecarbon's process mode (Crucial, 2023)."""
SECONDS = 5.0
"""Seconds between two measurements."""
_LOOKING: "weakref.WeakSet[threading.Thread]" = weakref.WeakSet()
"""Threads that detect the hardware, running or finished."""


def _let_them_finish() -> None:
    """Wait for the hardware detection before a fork.

    The detection starts programs such as lscpu. A data worker forked at that moment inherits the write end of the
    program's pipe, and the detection would then wait until the worker exits.
    """
    for each in tuple(_LOOKING):
        if each is not threading.current_thread():
            each.join()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_let_them_finish)


class EnergyMeter:
    """Energy of this process since `start`: its share of the CPU, its memory, and its GPU.

    GPU energy is that of the whole device, as counted by NVML.
    """

    def __init__(self, economics: Economics, *, gpu: int | None = None) -> None:
        # codecarbon sets its own log level on import and logs at every start
        logging.getLogger("codecarbon").addFilter(lambda record: record.levelno >= logging.ERROR)
        from codecarbon import OfflineEmissionsTracker
        from codecarbon.external.hardware import CPU

        if hasattr(CPU, "_get_process_cpu_times"):  # it looks at all processes of the machine to find the run's
            CPU._get_process_cpu_times = _processor_seconds
        self._tracker = OfflineEmissionsTracker(
            country_iso_code=economics.country.upper(),
            force_carbon_intensity_g_co2e_kwh=economics.grams_co2e_per_kwh,
            tracking_mode="process",
            measure_power_secs=SECONDS,
            gpu_ids=[] if gpu is None else [gpu],
            force_ram_power=0,  # memory is counted below, without a look at all processes of the machine
            save_to_file=False,
            log_level="error",
            allow_multiple_runs=True,
        )
        self._looked = time.monotonic()
        self._flushed = -math.inf
        self._memory_kwh = 0.0
        self._grams_per_kwh = economics.grams_co2e_per_kwh
        self._country = economics.country.upper()
        self._pue = economics.pue
        # detecting the hardware takes a second, so it runs in a thread beside training
        self._starting = threading.Thread(target=self._tracker.start, daemon=True)
        self._starting.start()
        _LOOKING.add(self._starting)

    def is_ready(self) -> bool:
        """Return whether the hardware has been detected; until then only memory is counted."""
        return not self._starting.is_alive()

    def wait(self) -> None:
        """Block until the hardware has been detected."""
        self._starting.join()

    def kwh(self, at_most_old: float = 0.0) -> float:
        """Return the energy so far in kWh, multiplied by the data centre's PUE.

        Args:
            at_most_old: seconds for which the energy of processors and GPU is not measured anew: to find it, codecarbon
                looks at all processes of the machine.
        """
        now = time.monotonic()
        self._memory_kwh += WATTS_PER_GIB * resident_bytes() / 2**30 * (now - self._looked) / 3.6e6
        self._looked = now
        counted = 0.0
        if self.is_ready():
            if now - self._flushed >= at_most_old:
                self._tracker.flush()
                self._flushed = now
            counted = self._tracker._total_cpu_energy.kWh + self._tracker._total_gpu_energy.kWh
        return float(counted + self._memory_kwh) * self._pue

    def source(self) -> str:
        """Describe the source of each part: measured (NVML, RAPL) or estimated. Empty until `is_ready`."""
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
        """Return the carbon intensity from the config, or from codecarbon's table of countries (Our World in Data)."""
        if self._grams_per_kwh is None:
            self._grams_per_kwh = carbon_intensity(self._country)
        return self._grams_per_kwh

    def stop(self) -> None:
        """Stop the measuring thread."""
        self.wait()
        self._tracker.stop()


def carbon_intensity(country: str) -> float:
    """Return the grams of CO2e per kWh of a country's electricity, yearly mean.

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


def _processor_seconds(processors: Any) -> dict[int, float]:
    """The processor time of this process and of each that it has started, by their numbers."""
    from lantu.cost.hardware import own_processes, processor_seconds

    return {each.pid: spent for each in own_processes() if (spent := processor_seconds([each]))}


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes."""
    return int(_process(os.getpid()).memory_info().rss)


@lru_cache(maxsize=1)
def _process(number: int) -> Any:
    import psutil

    return psutil.Process(number)
