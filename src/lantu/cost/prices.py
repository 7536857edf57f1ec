"""Convert hours and energy to money and carbon, at the prices in a config."""

from dataclasses import dataclass, field

from lantu.errors import UserError


@dataclass(frozen=True)
class Economics:
    """Prices, from `conf/economics`.

    Args:
        usd_per_device_hour: by kind of device: a part of its name such as "A100", or "gpu" and "cpu" for all others.
        usd_per_kwh: electricity that is billed separately; 0 if the hourly price includes it.
        pue: power usage effectiveness: total energy of the data centre per kWh of its computers.
        country: three letters (ISO 3166), for the carbon intensity of its electricity.
        grams_co2e_per_kwh: a better value for the carbon intensity; None: the country's yearly mean.
    """

    usd_per_device_hour: dict[str, float] = field(default_factory=dict)
    usd_per_kwh: float = 0.0
    pue: float = 1.0
    country: str = "USA"
    grams_co2e_per_kwh: float | None = None

    def __post_init__(self) -> None:
        for name in ("usd_per_kwh", "pue"):
            if getattr(self, name) < 0:
                raise UserError(f"`economics.{name}={getattr(self, name)}` cannot be negative.")
        if len(self.country) != 3:
            raise UserError(
                f"`economics.country={self.country}`: give the country's three letters, such as DEU or USA."
            )

    def device_hour(self, device: str) -> float:
        """Return the USD per hour of a device: of the longest matching kind, else of "gpu" or "cpu".

        Args:
            device: its name, such as "NVIDIA H200" or "cpu".
        """
        kinds = [kind for kind in self.usd_per_device_hour if kind.lower() in device.lower()]
        kind = max(kinds, key=len, default="cpu" if device == "cpu" else "gpu")
        return float(self.usd_per_device_hour.get(kind, 0.0))

    def usd(self, *, device: str, device_hours: float, kwh: float) -> float:
        """Return device hours × price per hour + kWh × price per kWh, in USD."""
        return device_hours * self.device_hour(device) + kwh * self.usd_per_kwh


@dataclass(frozen=True)
class Budget:
    """The limits at which a run stops; None: no limit."""

    usd: float | None = None
    kwh: float | None = None
    hours: float | None = None

    def __post_init__(self) -> None:
        for name in ("usd", "kwh", "hours"):
            limit = getattr(self, name)
            if limit is not None and limit <= 0:
                raise UserError(f"`budget.{name}={limit}` must be more than 0, or null for no limit.")

    def exceeded(self, *, usd: float, kwh: float, hours: float) -> str | None:
        """Describe the limit that has been reached; None if there is none."""
        for name, spent in (("usd", usd), ("kwh", kwh), ("hours", hours)):
            limit = getattr(self, name)
            if limit is not None and spent >= limit:
                return f"budget.{name}={limit:g} was reached ({spent:.4g} spent)"
        return None
