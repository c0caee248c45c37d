"""Pieces of SVG. Text of others is escaped here and nowhere else."""

import math
from typing import Iterable, List, Tuple
from xml.sax.saxutils import escape, quoteattr

from . import output

#: How wide a column of text is, at most, in 12 pixels.
COLUMN = 7.4

#: Legible on light and on dark; the frame says which is asked for.
_STYLE = """\
text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-size:16px;font-weight:600}.h{font-weight:600}.m{fill:#57606a}
.e{text-anchor:end}.c{text-anchor:middle}.bg{fill:#fff}.g{fill:#d0d7de}.r{stroke:#d0d7de}.i{stroke:#24292f}
.k{fill:#24292f}.kt{fill:#fff;font-size:10px;font-weight:600;text-anchor:middle}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.m{fill:#9198a1}.bg{fill:#0d1117}.g{fill:#3d444d}.r{stroke:#3d444d}
.i{stroke:#e6edf3}.k{fill:#e6edf3}.kt{fill:#0d1117}}"""


def plain(value: str) -> str:
    """One line that any XML and any reader bears: what is no printable character is spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in value)


def fitting(value: str, width: float) -> str:
    """As much of a text as fits into so many pixels."""
    value, columns = plain(value), int(width / COLUMN)
    if output.width(value) <= columns:
        return value
    while value and output.width(value) >= columns:
        value = value[:-1]
    return value + "…"


def text(x: float, y: float, value: str, kind: str = "", whole: str = "") -> str:
    """A text; ``whole`` is shown to whoever points at it."""
    title = f"<title>{escape(plain(whole))}</title>" if whole else ""
    which = f" class={quoteattr(kind)}" if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{which}>{title}{escape(plain(value))}</text>'


def bar(x: float, y: float, width: float, height: float, look: str) -> str:
    """A bar; ``look`` is an attribute, as in ``class="g"``."""
    return f'<rect x="{x:g}" y="{y:g}" width="{max(width, 0.0):.2f}" height="{height:g}" {look}/>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "i") -> str:
    """A line."""
    return f'<line x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}" class="{kind}"/>'


def at(centre: Tuple[float, float], radius: float, part: float) -> Tuple[float, float]:
    """A place on a circle, so far around it from the top, clockwise."""
    angle = 2 * math.pi * part
    return centre[0] + radius * math.sin(angle), centre[1] - radius * math.cos(angle)


def sectors(
    centre: Tuple[float, float], inner: float, outer: float, parts: Iterable[Tuple[float, float]], look: str, title: str
) -> str:
    """Sectors of a ring, of one look, each from one part of the circle to another. Filled, not stroked: a stroke that is
    shorter than a hundredth of a pixel has no direction."""
    outlines: List[str] = []
    for begin, end in parts:
        # In two, for an arc that ends where it begins is none.
        cuts = (begin, (begin + end) / 2, end) if end - begin > 0.5 else (begin, end)
        for first, last in zip(cuts, cuts[1:]):
            (x1, y1), (x2, y2) = at(centre, outer, first), at(centre, outer, last)
            (x3, y3), (x4, y4) = at(centre, inner, last), at(centre, inner, first)
            # What is short is straight.
            along, back = (f"A{outer:g} {outer:g} 0 0 1 ", f"A{inner:g} {inner:g} 0 0 0 ") if last - first > 0.002 else "LL"
            outlines.append(
                f"M{x1:.2f} {y1:.2f}{along}{x2:.2f} {y2:.2f}L{x3:.2f} {y3:.2f}{back}{x4:.2f} {y4:.2f}Z"
            )
    return f'<path d="{"".join(outlines)}" {look}><title>{escape(plain(title))}</title></path>'


def frame(width: float, height: float, title: str, content: Iterable[str]) -> str:
    """The whole picture."""
    said = escape(plain(title))
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}" '
        f"role=\"img\" aria-label={quoteattr(plain(title))}>",
        f"<title>{said}</title>\n<style>{_STYLE}</style>",
        f'<rect class="bg" width="{width:g}" height="{height:g}"/>',
        *content,
        "</svg>\n",
    ])
