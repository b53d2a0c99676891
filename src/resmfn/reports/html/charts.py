"""Charts as SVG that takes its colors from the page: light and dark, sharp at any size, no drawing library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 30, 46


@dataclass(frozen=True)
class Line:
    """One curve: points (x, y), a name for the legend, and the number of its color, 1 to 6."""

    points: Sequence[tuple[float, float]]
    name: str
    color: int = 1
    dashed: bool = False
    dots: bool = False
    """A dot at each point."""
    joined: bool = True
    """Whether a line joins them."""


@dataclass(frozen=True)
class Axes:
    """What a chart says around its curves."""

    x_label: str
    y_label: str
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    levels: Sequence[tuple[float, str]] = ()
    """Horizontal lines: height and what stands beside it."""
    top_ticks: Sequence[tuple[float, str]] = ()
    """Second x axis: place and text."""
    top_label: str = ""
    x_ticks: Sequence[tuple[float, str]] = field(default_factory=list)
    log_y: bool = False


def line_chart(lines: Sequence[Line], axes: Axes, alt: str) -> str:
    """Return a chart of curves with a legend above it."""
    lines = [line for line in lines if line.points]
    frame = _Frame.around([point for line in lines for point in line.points], axes)
    body = [frame.grid(axes)]
    for line in lines:
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in line.points)
        style = f'class="line c{line.color}{" dashed" if line.dashed else ""}"'
        if line.joined:
            body.append(f'<polyline {style} points="{path}"/>')
        if line.dots:
            body += [
                f'<circle class="dot c{line.color}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3">'
                f"<title>{escape(line.name)}: {x:g}, {y:.4g}</title></circle>"
                for x, y in line.points
            ]
    return legend(lines) + _svg(body, alt)


def histogram(values: Sequence[float], axes: Axes, alt: str, *, n_bins: int = 40, color: int = 1) -> str:
    """Return a bar chart of how many values, in percent, fall into even bins of ``axes.x_range`` or their own."""
    low, high = axes.x_range or (min(values), max(values))
    if not high > low:
        low, high = low - 0.5, high + 0.5
    counts = [0] * n_bins
    for value in values:
        counts[min(n_bins - 1, max(0, int((value - low) / (high - low) * n_bins)))] += 1
    step, shares = (high - low) / n_bins, [100 * count / len(values) for count in counts]
    points = [(low, 0.0), (high, 1.05 * max(shares))]
    frame = _Frame.around(points, Axes(axes.x_label, axes.y_label, (low, high), (0.0, 1.05 * max(shares))))
    body = [frame.grid(axes)]
    for i, share in enumerate(shares):
        left, right = frame.x(low + i * step), frame.x(low + (i + 1) * step)
        top, bottom = frame.y(share), frame.y(0)
        body.append(
            f'<rect class="bar c{color}" x="{left:.1f}" y="{top:.1f}" width="{max(0.5, right - left - 1):.1f}" '
            f'height="{max(0.0, bottom - top):.1f}"><title>{low + i * step:.4g} to {low + (i + 1) * step:.4g}: '
            f"{share:.1f} %</title></rect>"
        )
    return _svg(body, alt)


def legend(lines: Sequence[Line]) -> str:
    """Return names beside samples of their curves; nothing for a single curve without a name."""
    named = [line for line in lines if line.name]
    if len(named) < 2:
        return ""
    items = (
        f'<li><svg aria-hidden="true" viewBox="0 0 26 8"><line class="line c{line.color}'
        f'{" dashed" if line.dashed else ""}" x1="1" x2="25" y1="4" y2="4"/></svg>{escape(line.name)}</li>'
        for line in named
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers between two values, about ``wanted`` of them."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    raw = (high - low) / wanted
    power = 10 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class _Frame:
    """From values to pixels."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    log_y: bool

    @classmethod
    def around(cls, points: Sequence[tuple[float, float]], axes: Axes) -> _Frame:
        xs, ys = [x for x, _ in points] or [0.0, 1.0], [y for _, y in points] or [0.0, 1.0]
        if axes.log_y:
            ys = [max(y, 1e-6) for y in ys]
        x_low, x_high = axes.x_range or (min(xs), max(xs))
        y_low, y_high = axes.y_range or _padded(min(ys), max(ys), log=axes.log_y)
        if not x_high > x_low:
            x_low, x_high = x_low - 1, x_high + 1
        return cls(x_low, x_high, y_low, y_high, axes.log_y)

    def x(self, value: float) -> float:
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_low, self.y_high
        if self.log_y:
            value, low, high = (math.log10(max(v, 1e-6)) for v in (value, low, high))
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def grid(self, axes: Axes) -> str:
        """Return lines, ticks and labels."""
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        parts = []
        for value in self._y_ticks():
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>')
        ticks = axes.x_ticks or [(value, _number(value)) for value in nice_ticks(self.x_low, self.x_high, 6)]
        for value, text in ticks:
            parts.append(
                f'<text class="tick" x="{self.x(value):.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>'
            )
        for value, text in axes.top_ticks:
            parts.append(f'<text class="tick" x="{self.x(value):.1f}" y="{TOP - 8}" text-anchor="middle">{text}</text>')
        for value, text in axes.levels:
            y = self.y(value)
            parts.append(f'<line class="level" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" x="{LEFT + 6}" y="{y - 5:.1f}">{escape(text)}</text>')
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        parts.append(
            f'<text class="label" x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{axes.x_label}</text>'
        )
        middle = (TOP + bottom) / 2
        parts.append(
            f'<text class="label" x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
            f"{axes.y_label}</text>"
        )
        if axes.top_label:
            parts.append(f'<text class="tick" x="{LEFT - 8}" y="{TOP - 8}" text-anchor="end">{axes.top_label}</text>')
        return "".join(parts)

    def _y_ticks(self) -> list[float]:
        if not self.log_y:
            return nice_ticks(self.y_low, self.y_high)
        low, high = math.floor(math.log10(self.y_low)), math.ceil(math.log10(self.y_high))
        ticks = [m * 10.0**e for e in range(low, high + 1) for m in ((1, 3) if high - low < 3 else (1,))]
        return [value for value in ticks if self.y_low <= value <= self.y_high]


def _padded(low: float, high: float, *, log: bool) -> tuple[float, float]:
    if log:
        return low / 1.3, high * 1.3
    margin = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    return low - margin, high + margin


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}".replace("-", "−")


def _svg(body: Sequence[str], alt: str) -> str:
    return (
        f'<svg class="chart" role="img" aria-label="{escape(alt, quote=True)}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"{''.join(body)}</svg>"
    )
