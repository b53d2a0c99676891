"""Charts as SVG whose colors follow the page's light or dark theme, without a drawing library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from resmfn.reports.html.elements import Markup, element, joined

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
    """Labels, ranges and ticks of a chart."""

    x_label: str
    y_label: str
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    levels: Sequence[tuple[float, str]] = ()
    """Horizontal lines: height and label."""
    top_ticks: Sequence[tuple[float, str]] = ()
    """Second x axis: position and text."""
    top_label: str = ""
    x_ticks: Sequence[tuple[float, str]] = field(default_factory=list)
    log_y: bool = False


def line_chart(lines: Sequence[Line], axes: Axes, alt: str) -> Markup:
    """Return a chart of curves with a legend above it."""
    lines = [line for line in lines if line.points]
    frame = _Frame.around([point for line in lines for point in line.points], axes)
    body = [frame.grid(axes)]
    for line in lines:
        if line.joined:
            points = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in line.points)
            body.append(element("polyline", class_=_class("line", line), points=points))
        if line.dots:
            body += [
                element(
                    "circle", element("title", f"{line.name}: {x:g}, {y:.4g}"), class_=f"dot c{line.color}",
                    cx=f"{frame.x(x):.1f}", cy=f"{frame.y(y):.1f}", r=3,
                )
                for x, y in line.points
            ]  # fmt: skip
    return joined(legend(lines), _svg(body, alt))


def histogram(values: Sequence[float], axes: Axes, alt: str, *, n_bins: int = 40, color: int = 1) -> Markup:
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
        title = element("title", f"{low + i * step:.4g} to {low + (i + 1) * step:.4g}: {share:.1f} %")
        body.append(
            element(
                "rect", title, class_=f"bar c{color}", x=f"{left:.1f}", y=f"{top:.1f}",
                width=f"{max(0.5, right - left - 1):.1f}", height=f"{max(0.0, bottom - top):.1f}",
            )
        )  # fmt: skip
    return _svg(body, alt)


def legend(lines: Sequence[Line]) -> Markup | None:
    """Return names beside samples of their curves; nothing for a single curve without a name."""
    named = [line for line in lines if line.name]
    if len(named) < 2:
        return None
    samples = (
        element(
            "svg", element("line", class_=_class("line", line), x1=1, x2=25, y1=4, y2=4), aria_hidden="true",
            viewBox="0 0 26 8",
        )
        for line in named
    )  # fmt: skip
    items = [element("li", sample, line.name) for sample, line in zip(samples, named, strict=True)]
    return element("ul", items, class_="legend")


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

    def grid(self, axes: Axes) -> Markup:
        """Return lines, ticks and labels."""
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        parts = []
        for value in self._y_ticks():
            y = self.y(value)
            parts.append(element("line", class_="grid", x1=LEFT, x2=right, y1=f"{y:.1f}", y2=f"{y:.1f}"))
            parts.append(_text(_number(value), "tick", LEFT - 8, y + 4, "end"))
        ticks = axes.x_ticks or [(value, _number(value)) for value in nice_ticks(self.x_low, self.x_high, 6)]
        parts += [_text(text, "tick", self.x(value), bottom + 18) for value, text in ticks]
        parts += [_text(text, "tick", self.x(value), TOP - 8) for value, text in axes.top_ticks]
        for value, text in axes.levels:
            y = self.y(value)
            parts.append(element("line", class_="level", x1=LEFT, x2=right, y1=f"{y:.1f}", y2=f"{y:.1f}"))
            parts.append(_text(text, "tick", LEFT + 6, y - 5, "start"))
        parts.append(element("line", class_="axis", x1=LEFT, x2=right, y1=bottom, y2=bottom))
        parts.append(_text(axes.x_label, "label", (LEFT + right) / 2, HEIGHT - 8))
        middle = (TOP + bottom) / 2
        parts.append(_text(axes.y_label, "label", 14, middle, turned=f"rotate(-90 14 {middle})"))
        if axes.top_label:
            parts.append(_text(axes.top_label, "tick", LEFT - 8, TOP - 8, "end"))
        return joined(parts)

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


def _class(kind: str, line: Line) -> str:
    return f"{kind} c{line.color}{' dashed' if line.dashed else ''}"


def _text(text: str, kind: str, x: float, y: float, anchor: str = "middle", *, turned: str | None = None) -> Markup:
    return element("text", text, class_=kind, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, transform=turned)


def _svg(body: Sequence[Markup], alt: str) -> Markup:
    return element("svg", body, class_="chart", role="img", aria_label=alt, viewBox=f"0 0 {WIDTH} {HEIGHT}")
