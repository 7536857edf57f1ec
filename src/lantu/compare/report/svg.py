"""Small charts as SVG text: no plotting library, no script, crisp on paper and on a phone.

A chart is 420 wide whatever the screen: it is scaled to its column, so that its 12-point text stays readable on a
phone. Colours are Okabe and Ito's (2008), told apart by people who do not see red and green; lines differ in dashes
and points in shape as well. Colours of the page (ink, grid) come from the style sheet, so that dark mode and print
work.
"""

import math
from collections.abc import Sequence
from html import escape

import numpy as np

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2", "1 2", "")
MARKS = ("circle", "square", "triangle", "diamond")
WIDTH, HEIGHT = 420, 280


class Axis:
    """Numbers to pixels; linear or logarithmic."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool = False) -> None:
        if log and low > 0:
            low, high = math.log10(low), math.log10(high)
        self.log = log
        if abs(high - low) < 1e-12 * max(abs(low), abs(high), 1e-30):
            pad = abs(low) * 0.1 or 1.0
            low, high = low - pad, high + pad
        self.low, self.high, self._start, self._end = low, high, start, end

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        v = math.log10(value) if self.log else value
        return self._start + (v - self.low) / (self.high - self.low) * (self._end - self._start)

    def each(self, values: np.ndarray) -> np.ndarray:
        """The pixels of values."""
        v = np.log10(values) if self.log else values
        return np.asarray(self._start + (v - self.low) / (self.high - self.low) * (self._end - self._start))

    def ticks(self, most: int = 5) -> list[float]:
        """Round values along the axis."""
        if self.log:
            low, high = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
            if high - low >= 2:
                every = max(1, math.ceil((high - low + 1) / most))
                return [10.0**each for each in range(low, high + 1, every)]
            steps = [
                m * 10.0**e for e in range(math.floor(self.low), math.ceil(self.high) + 1) for m in (1, 2, 3, 5, 7)
            ]
            inside = [each for each in steps if self.low - 1e-9 <= math.log10(each) <= self.high + 1e-9]
            if len(inside) >= 2:
                return inside[:: math.ceil(len(inside) / most)]
            return [10**self.low, 10**self.high]
        span = self.high - self.low
        step = 10 ** math.floor(math.log10(span / most))
        step *= next(m for m in (1, 2, 2.5, 5, 10) if span / (step * m) <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [each * step for each in range(first, math.floor(self.high / step + 1e-9) + 1)]


class Chart:
    """An SVG picture being drawn. Everything given to it is in the axes' units.

    With `rows` the vertical axis counts named rows from the top instead of measuring.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        x_label: str = "",
        y_label: str = "",
        x_log: bool = False,
        y_log: bool = False,
        title: str = "",
        size: tuple[int, int] = (WIDTH, HEIGHT),
        left: int = 52,
        x_names: Sequence[tuple[float, str]] | None = None,
        rows: int | None = None,
    ) -> None:
        self.width, self.height = size
        top, bottom = 10, self.height - (42 if x_label else 26)
        self.x = Axis(*x, left, self.width - 12, log=x_log)
        self.y = Axis(*y, bottom, top, log=y_log)
        self._top, self._bottom, self._left = top, bottom, left
        self._title, self._parts = title, list[str]()
        if rows is not None:
            for place in range(rows + 1):
                self._parts.append(f'<path class="grid" d="M0 {self.y(place):.1f}H{self.width - 12}"/>')
        ticks = self.y.ticks() if rows is None else []
        for tick, text in zip(ticks, _texts(ticks), strict=True):
            at = self.y(tick)
            self._parts.append(f'<path class="grid" d="M{left} {at:.1f}H{self.width - 12}"/>')
            self._parts.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
        named = list(x_names) if x_names else None
        if named is None:
            ticks = self.x.ticks()
            named = list(zip(ticks, _texts(ticks), strict=True))
        for tick, text in named:
            at = self.x(tick)
            half = 3.3 * len(text)
            at, anchor = (self.width - 1, "end") if at + half > self.width else (at, "middle")
            self._parts.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="{anchor}">{escape(text)}</text>')
        self._parts.append(f'<path class="axis" d="M{left} {bottom}H{self.width - 12}"/>')
        if x_label:
            self._parts.append(
                f'<text class="label" x="{(left + self.width - 12) / 2}" y="{self.height - 6}" '
                f'text-anchor="middle">{escape(x_label)}</text>'
            )
        if y_label:
            middle = (top + bottom) / 2
            self._parts.append(
                f'<text class="label" transform="translate(12 {middle}) rotate(-90)" '
                f'text-anchor="middle">{escape(y_label)}</text>'
            )

    def line(
        self, x: np.ndarray, y: np.ndarray, *, colour: str, dash: str = "", width: float = 2.0, opacity: float = 1
    ) -> None:
        """A line through points."""
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(self.x.each(x), self.y.each(y), strict=True))
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        faint = f' opacity="{opacity}"' if opacity < 1 else ""
        self._framed(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"{dashed}{faint}/>'
        )

    def band(self, x: np.ndarray, low: np.ndarray, high: np.ndarray, *, colour: str) -> None:
        """The area between two lines."""
        across = self.x.each(x)
        up = [f"{a:.1f},{b:.1f}" for a, b in zip(across, self.y.each(high), strict=True)]
        down = [f"{a:.1f},{b:.1f}" for a, b in zip(across[::-1], self.y.each(low)[::-1], strict=True)]
        self._framed(f'<polygon points="{" ".join(up + down)}" fill="{colour}" opacity="0.16"/>')

    def dot(
        self,
        x: float,
        y: float,
        *,
        colour: str,
        mark: str = "circle",
        size: float = 4,
        hollow: bool = False,
        opacity: float = 1,
        tip: str = "",
    ) -> None:
        """A point; `tip` is shown under the pointer."""
        a, b, r = self.x(x), float(self._inside(np.array([y]))[0]), size
        shapes = {
            "circle": f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{r}"',
            "square": f'<rect x="{a - r:.1f}" y="{b - r:.1f}" width="{2 * r}" height="{2 * r}"',
            "triangle": f'<path d="M{a:.1f} {b - 1.2 * r:.1f}l{1.1 * r:.1f} {2 * r:.1f}h{-2.2 * r:.1f}z"',
            "diamond": f'<path d="M{a:.1f} {b - 1.3 * r:.1f}l{1.3 * r:.1f} {1.3 * r:.1f}l{-1.3 * r:.1f} {1.3 * r:.1f}'
            f'l{-1.3 * r:.1f} {-1.3 * r:.1f}z"',
        }
        style = f'class="hollow" stroke="{colour}" stroke-width="1.6"' if hollow else f'fill="{colour}"'
        faint = f' opacity="{opacity}"' if opacity < 1 else ""
        shape = f"{shapes[mark]} {style}{faint}"
        self._parts.append(f"{shape}><title>{escape(tip)}</title>{_end(shape)}" if tip else f"{shape}/>")

    def dots(self, x: np.ndarray, y: np.ndarray, *, colour: str, size: float = 2.4, opacity: float = 0.6) -> None:
        """Many small points as one path."""
        marks = "".join(
            f"M{a:.1f} {b:.1f}h0" for a, b in zip(self.x.each(np.asarray(x)), self._inside(np.asarray(y)), strict=True)
        )
        self._parts.append(
            f'<path d="{marks}" stroke="{colour}" stroke-width="{2 * size}" stroke-linecap="round" '
            f'opacity="{opacity}"/>'
        )

    def bar(
        self, x: tuple[float, float], y: tuple[float, float], *, colour: str, opacity: float = 1, tip: str = ""
    ) -> None:
        """A filled rectangle."""
        (a, b), (c, d) = sorted(map(self.x, x)), sorted(map(self.y, y))
        title = f"<title>{escape(tip)}</title>" if tip else ""
        self._parts.append(
            f'<rect x="{a:.1f}" y="{c:.1f}" width="{max(b - a, 0.8):.1f}" height="{max(d - c, 0.8):.1f}" '
            f'fill="{colour}" opacity="{opacity}">{title}</rect>'
        )

    def upright(self, x: float, *, dash: str = "3 3") -> None:
        """A thin vertical line over the whole height."""
        at = self.x(x)
        self._parts.append(f'<path class="axis" d="M{at:.1f} {self._top}V{self._bottom}" stroke-dasharray="{dash}"/>')

    def level(self, y: float, *, dash: str = "3 3") -> None:
        """A thin horizontal line over the whole width."""
        at = self.y(y)
        self._parts.append(
            f'<path class="axis" d="M{self._left} {at:.1f}H{self.width - 12}" stroke-dasharray="{dash}"/>'
        )

    def text(self, x: float, y: float, content: str, *, anchor: str = "start", dx: float = 6, dy: float = -6) -> None:
        """Words beside a point."""
        a, b = self.x(x) + dx, self.y(y) + dy
        words = escape(content)
        self._parts.append(f'<text class="note" x="{a:.1f}" y="{b:.1f}" text-anchor="{anchor}">{words}</text>')

    def raw(self, part: str) -> None:
        """Any SVG, in pixels."""
        self._parts.append(part)

    def done(self) -> str:
        """The picture."""
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(self._title, quote=True)}">'
            f"{''.join(self._parts)}</svg>"
        )

    def _framed(self, part: str) -> None:
        """Cut at the frame: a diverged curve leaves the picture, not the page."""
        x, y, width, height = self._left, self._top - 2, self.width - 12 - self._left, self._bottom - self._top + 3
        self._parts.append(
            f'<svg class="frame" x="{x}" y="{y}" width="{width}" height="{height}" viewBox="{x} {y} {width} {height}">'
            f"{part}</svg>"
        )

    def _inside(self, y: np.ndarray) -> np.ndarray:
        """Pixels of y, moved to the frame where they are outside it."""
        return np.clip(self.y.each(np.asarray(y, dtype=float)), self._top - 2, self._bottom + 2)


def legend(entries: Sequence[tuple[str, str, str, str]]) -> str:
    """(text, colour, dash, mark) as a wrapping list under a chart."""
    items = []
    for text, colour, dash, mark in entries:
        chart = f'<svg viewBox="0 0 26 12" class="key"><path d="M1 6H25" stroke="{colour}" stroke-width="2.2" '
        chart += f'stroke-dasharray="{dash}"/></svg>'
        if mark:
            chart = f'<svg viewBox="0 0 14 12" class="key small">{_key(mark, colour)}</svg>'
        items.append(f"<li>{chart}{escape(text)}</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def limits(*values: np.ndarray, log: bool = False, pad: float = 0.05) -> tuple[float, float]:
    """The range of some numbers with a little room."""
    every = np.concatenate([np.asarray(each, dtype=float).ravel() for each in values])
    every = every[np.isfinite(every) & ((every > 0) | (not log))]
    if not len(every):
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = float(every.min()), float(every.max())
    if log:
        room = (high / low) ** pad if high > low else 2.0
        return low / room, high * room
    room = (high - low) * pad or abs(low) * 0.1 or 0.5
    return low - room, high + room


def spans_magnitudes(values: np.ndarray, *, factor: float = 20) -> bool:
    """Whether numbers are better looked at on a logarithmic axis."""
    known = values[np.isfinite(values)]
    return bool(len(known) and known.min() > 0 and known.max() / known.min() >= factor)


def short(value: float) -> str:
    """A number for an axis: 0.25, 12k, 3M, 1e-5."""
    size = abs(value)
    if size == 0:
        return "0"
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= 1e15:
            break
        if size >= limit:
            divisor = 1e3 if unit == "k" else limit
            return f"{value / divisor:.3g}{unit}"
    if size < 1e-3 or size >= 1e15:
        return f"{value:.2g}".replace("e-0", "e-").replace("e+", "e")
    return f"{value:.4g}"


def _texts(ticks: Sequence[float]) -> list[str]:
    return [short(0.0 if abs(tick) < 1e-12 * max(map(abs, ticks)) else tick) for tick in ticks]


def _end(shape: str) -> str:
    return f"</{shape[1:].split(maxsplit=1)[0]}>"


def _key(mark: str, colour: str) -> str:
    hollow = mark.startswith("hollow ")
    style = f'class="hollow" stroke="{colour}" stroke-width="1.6"' if hollow else f'fill="{colour}"'
    shapes = {
        "circle": '<circle cx="7" cy="6" r="4"',
        "square": '<rect x="3" y="2" width="8" height="8"',
        "triangle": '<path d="M7 1l4.4 8.6H2.6z"',
        "diamond": '<path d="M7 1l5 5l-5 5l-5-5z"',
    }
    return f"{shapes[mark.removeprefix('hollow ')]} {style}/>"
