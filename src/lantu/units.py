"""Amounts as people say them."""

from math import floor, log10


def format_duration(seconds: float) -> str:
    """ "42 s", "7 min", "3.2 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def format_energy(kwh: float) -> str:
    """In Wh, kWh or MWh."""
    if kwh >= 1000:
        return f"{kwh / 1000:,.1f} MWh"
    return f"{kwh:.2f} kWh" if kwh >= 1 else f"{_short(1000 * kwh)} Wh"


def format_mass(kg: float) -> str:
    """In mg, g, kg or t."""
    if kg >= 1000:
        return f"{kg / 1000:,.1f} t"
    return (
        f"{kg:.2f} kg"
        if kg >= 1
        else f"{1000 * kg:,.{0 if kg >= 0.01 else 1}f} g"
        if kg >= 1e-3
        else f"{1e6 * kg:.2g} mg"
    )


def format_money(usd: float) -> str:
    """To two significant digits at least; from $1,000 without cents."""
    sign, size = "-" if usd < 0 else "", abs(usd)
    return f"{sign}${size:,.0f}" if size >= 1000 else f"{sign}${f'{size:,.2f}' if size >= 1 else _short(size)}"


def _short(value: float) -> str:
    """Two significant digits, without an exponent."""
    return f"{value:.{max(0, 1 - floor(log10(value)))}f}" if value > 0 else "0"
