"""Two figures as SVG, without a plotting library: how reliable the confidences are, and how accuracy falls with severity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from moderation.training.evaluation.calibration import Calibration
from moderation.training.evaluation.corruption import SEVERITIES
from moderation.training.evaluation.robustness import Robustness

_SIDE, _MARGIN, _LEGEND = 320.0, 44.0, 190.0
# Tones apart in lightness as well, after Okabe and Ito, so that they stay apart for the colour-blind; dashes do the rest.
_TONES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
_DASHES = ("", "6 3", "2 3")


def reliability(found: Calibration) -> str:
    """Accuracy over confidence by bin, a dot's area growing with its pictures; on the diagonal a confidence means what it says."""
    most = max(one.count for one in found.bins)
    dots = [
        f'<circle cx="{_x(one.confidence)}" cy="{_y(one.accuracy)}" r="{2 + 5 * (one.count / most) ** 0.5:.1f}" fill="{_TONES[0]}">'
        f"<title>{one.count} pictures: confidence {one.confidence:.3f}, accuracy {one.accuracy:.3f}</title></circle>"
        for one in found.bins
    ]
    diagonal = f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="#999" stroke-dasharray="4 4"/>'
    ticks = [(place / 5, f"{place / 5:.1f}") for place in range(6)]
    label = f"Reliability: calibration error {found.error:.3f} ({found.floor:.3f} if perfect), scale {found.scale:.1f}"
    return _figure(label, "confidence", ticks, [diagonal, *dots], width=_SIDE + 2 * _MARGIN)


def falls(found: Robustness) -> str:
    """Accuracy over severity, a line for each corruption, from the clean pictures at 0."""
    names = list(dict.fromkeys(one.shift for one in found.corruptions))
    parts = []
    for number, name in enumerate(names):
        values = [found.clean.value, *(one.accuracy.value for one in found.corruptions if one.shift == name)]
        parts += _line(name, values, number)
    ticks = [(severity / len(SEVERITIES), str(severity)) for severity in (0, *SEVERITIES)]
    return _figure("Top-1 under corruptions", "severity", ticks, parts, width=_SIDE + 2 * _MARGIN + _LEGEND)


def _line(name: str, values: Sequence[float], number: int) -> list[str]:
    pen = (
        f'stroke="{_TONES[number % len(_TONES)]}" stroke-dasharray="{_DASHES[number // len(_TONES)]}" stroke-width="2"'
    )
    points = " ".join(f"{_x(at / (len(values) - 1))},{_y(value)}" for at, value in enumerate(values))
    y, x = _MARGIN + 8 + 20 * number, _SIDE + _MARGIN + 16
    told = ", ".join(f"{value:.3f}" for value in values)
    return [
        f'<polyline points="{points}" fill="none" {pen}><title>{escape(name)}: {told}</title></polyline>',
        f'<line x1="{x}" y1="{y}" x2="{x + 28}" y2="{y}" {pen}/>',
        f'<text x="{x + 36}" y="{y + 4}">{escape(name)}</text>',
    ]


def _figure(label: str, across: str, ticks: Sequence[tuple[float, str]], parts: Iterable[str], *, width: float) -> str:
    height = _SIDE + 2 * _MARGIN
    frame = f'<rect x="{_MARGIN}" y="{_MARGIN}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#bbb"/>'
    below = [f'<text x="{_x(at)}" y="{height - 24}" text-anchor="middle">{escape(one)}</text>' for at, one in ticks]
    left = [f'<text x="{_MARGIN - 6}" y="{_y(at / 5)}" dy="4" text-anchor="end">{at / 5:.1f}</text>' for at in range(6)]
    words = (
        f'<text x="{_MARGIN}" y="24" font-weight="bold">{escape(label)}</text>'
        f'<text x="{_MARGIN + _SIDE / 2}" y="{height - 6}" text-anchor="middle">{escape(across)}</text>'
    )
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}"'
    style = 'font-family="sans-serif" font-size="12" fill="#222">\n<rect width="100%" height="100%" fill="#fff"/>'
    return "\n".join([f"{opening} {style}", frame, words, *below, *left, *parts, "</svg>", ""])


def _x(share: float) -> float:
    return round(_MARGIN + share * _SIDE, 1)


def _y(share: float) -> float:
    return round(_MARGIN + (1 - share) * _SIDE, 1)
