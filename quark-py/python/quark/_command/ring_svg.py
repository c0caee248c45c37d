"""``quark ring --svg``: the circle and its balance, one part of the picture for each ring.

A few silos have a colour each. Of many, those with the most and the least of what they should have are shown, and how the
others spread between them; the file stays as small.
"""

import statistics
from typing import TYPE_CHECKING, Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple

from .._quark import HashRing, hash as place_of
from .picture import at, bar, fitting, frame, line, sectors, text
from .ring_text import percent, said_of
from .rings import Ring, Rings

if TYPE_CHECKING:
    from .ring import Asked, Key

#: Colours that are told apart on light and on dark; so many silos are few.
COLOURS = (
    "#4e79a7 #f28e2b #59a14f #e15759 #b07aa1 #3fa7a0 #c9a227 #9c755f #d37295 #6b6ecf #7aa93c #8c8c8c"
).split()
#: Of many silos, so many with the most and so many with the least.
ENDS = 5
MOST, LEAST = "#e15759", "#4e79a7"
#: More keys are only dots.
NUMBERED_KEYS = 40

WIDTH = 960.0
CENTRE_X, RADIUS, THICK = 220.0, 130.0, 36.0
#: Where columns begin: the silos' names, their bars, and where the figures end.
NAMES, BARS, BARS_END, FIGURES = 476.0, 650.0, 810.0, 944.0
ROW = 24.0
CIRCLE = 2**32


class Row(NamedTuple):
    """One silo, with its share and what the number of its virtual nodes makes of the whole."""

    silo_id: str
    colour: str
    share: float
    ideal: float
    after: float
    drains: bool

    @property
    def name(self) -> str:
        """Its id, and whether it drains."""
        return f"{self.silo_id} (drains)" if self.drains else self.silo_id

    @property
    def load(self) -> float:
        """Its share beside the ideal one."""
        return self.share / self.ideal if self.ideal else 0.0


def write(file: str, asked: "Asked", rings: Rings) -> None:
    """Draws all of it into a file."""
    title = "ring" if asked.cluster is None else f"ring of cluster {asked.cluster}, view {asked.view_version}"
    content: List[str] = [text(16, 32, title, "t")]
    y = 48.0
    for ring in [rings.of_type(asked.only_type)] if asked.only_type else rings.all():
        keys = [key for key in asked.keys if rings.is_of(ring, key.actor_type)]
        drawn, y = _ring(asked, ring, rings.name(ring), keys, y)
        content += drawn
    with open(file, "w", encoding="utf-8") as out:
        out.write(frame(WIDTH, y + 16, title, content))


def _ring(asked: "Asked", ring: Ring, name: str, keys: "Sequence[Key]", y: float) -> Tuple[List[str], float]:
    """One ring, drawn from a height on, and where it ends."""
    drawn = [text(16, y + 20, fitting(name, WIDTH - 32), "h", name)]
    if asked.changes.are_some:
        condition = f"if {said_of(asked.changes)}: {percent(ring.moved()[2])} would move"
        drawn.append(text(16, y + 40, fitting(condition, WIDTH - 32), "m", condition))
    y += 56
    rows = _rows(ring, {silo.silo_id for silo in asked.silos if silo.draining})
    few = len(rows) <= len(COLOURS)
    shown = rows if few else [*rows[:ENDS], *rows[-ENDS:]]
    centre = (CENTRE_X, y + 200)
    drawn += _circle(ring.now, shown, centre, len(rows), few)
    drawn += _keys_on_circle(keys, centre)
    listed, bottom = _bars(asked, rows, shown, few, y)
    drawn += listed
    y = max(bottom, y + 408)
    return drawn + list(_keys(asked, ring, keys, y)), y + (ROW * (min(len(keys), NUMBERED_KEYS + 1) + 1) if keys else 0)


def _rows(ring: Ring, draining: Set[str]) -> List[Row]:
    """Few silos by their ids, many by their load."""
    shares, after, weights = ring.now.shares(), ring.after.shares(), ring.now.virtual_nodes()
    total, ids = sum(weights.values()), ring.ids()
    if len(ids) > len(COLOURS):
        ids = ring.now.silos  # Those that are not in yet are only counted.
    few = len(ids) <= len(COLOURS)
    rows = [
        Row(
            silo_id,
            COLOURS[place] if few else "",
            shares.get(silo_id, 0.0),
            weights.get(silo_id, 0) / total if total else 0.0,
            after.get(silo_id, 0.0),
            silo_id in draining,
        )
        for place, silo_id in enumerate(ids)
    ]
    if few:
        return rows
    rows.sort(key=lambda row: -row.load)
    return [row._replace(colour=MOST if place < ENDS else LEAST) for place, row in enumerate(rows)]


def _circle(ring: HashRing, shown: Sequence[Row], centre: Tuple[float, float], count: int, few: bool) -> List[str]:
    x, y = centre
    drawn = [f'<circle cx="{x:g}" cy="{y:g}" r="{RADIUS:g}" fill="none" class="r" stroke-width="{THICK:g}"/>']
    for row in shown if few else (shown[-1], shown[0]):
        parts = [(first / CIRCLE, (last + 1) / CIRCLE) for first, last in ring.ranges(row.silo_id)]
        if not few:
            parts = [_seen(*part) for part in parts]
        look, title = f'fill="{row.colour}"', f"{row.silo_id} {100 * row.share:.3g}%"
        if parts:
            drawn.append(sectors(centre, RADIUS - THICK / 2, RADIUS + THICK / 2, parts, look, title))
    points = sum(ring.virtual_nodes().values())
    drawn.append(text(x, y - 4, f"{len(ring):,} silo{'' if len(ring) == 1 else 's'}", "h c"))
    drawn.append(text(x, y + 14, f"{points:,} point{'' if points == 1 else 's'}", "m c"))
    if not few:
        for place, (colour, what) in enumerate(((MOST, "the most loaded"), (LEAST, "the least loaded"))):
            drawn.append(bar(x - 54, y + 26 + 16 * place, 8, 8, f'fill="{colour}"'))
            drawn.append(text(x - 42, y + 34 + 16 * place, what, "m"))
    return drawn


def _seen(begin: float, end: float) -> Tuple[float, float]:
    """A part of the circle, as wide as it must be to be seen."""
    narrow = max(0.001 - (end - begin), 0.0)
    return begin - narrow / 2, end + narrow / 2


def _bars(
    asked: "Asked", rows: Sequence[Row], shown: Sequence[Row], few: bool, y: float
) -> Tuple[List[str], float]:
    """The silos' shares beside the ideal ones, and where that ends."""
    if not rows:
        return [text(NAMES, y + 16, "no silo", "m")], y + ROW
    changes = asked.changes.are_some
    most = max(max(row.share, row.ideal, row.after) for row in shown) or 1.0
    scale = (BARS_END - BARS) / most
    heads = "now, then" if changes else "share"
    drawn = [text(NAMES, y + 12, "silo", "m"), text(BARS, y + 12, "beside the ideal |", "m"), text(FIGURES, y + 12, heads, "m e")]
    y += 20
    for place, row in enumerate(shown):
        if not few and place in (0, ENDS):
            drawn.append(text(NAMES, y + 15, "the most loaded" if place == 0 else "the least loaded", "h"))
            y += ROW
        colour = f'fill="{row.colour}"'
        drawn.append(bar(NAMES, y + 5, 10, 10, colour))
        drawn.append(text(NAMES + 16, y + 14, fitting(row.name, BARS - NAMES - 24), "", row.name))
        drawn.append(bar(BARS, y + 4, row.share * scale, 12 if not changes else 7, colour))
        if changes:
            drawn.append(bar(BARS, y + 13, row.after * scale, 4, f'{colour} fill-opacity="0.55"'))
        if row.ideal:
            drawn.append(line(BARS + row.ideal * scale, y + 1, BARS + row.ideal * scale, y + 19))
        figures = f"{percent(row.share)} → {percent(row.after)}" if changes else _figures(row)
        drawn.append(text(FIGURES, y + 14, figures, "e"))
        y += ROW
    loads = sorted(row.load for row in rows if row.ideal)
    if len(loads) > 1:
        drawn.append(text(NAMES, y + 18, f"loads from {loads[0]:.2f} to {loads[-1]:.2f} × the ideal", "m"))
        y += ROW
    if not few:
        drawn += _spread(loads, y + 8)
        y += 136
    return drawn, y + 8


def _figures(row: Row) -> str:
    return f"{100 * row.share:.3g}% ({row.load:.2f} ×)"


def _spread(loads: Sequence[float], y: float) -> List[str]:
    """How many silos have how much beside the ideal."""
    low, high = loads[0], loads[-1]
    bins = 24
    step = (high - low) / bins or 1.0
    counts = [0] * bins
    for load in loads:
        counts[min(int((load - low) / step), bins - 1)] += 1
    width, height = (FIGURES - NAMES) / bins, 76.0
    drawn = [text(NAMES, y + 12, "how many silos have how much beside the ideal", "h")]
    base = y + 24 + height
    for place, count in enumerate(counts):
        tall = height * count / max(counts)
        drawn.append(bar(NAMES + place * width, base - tall, width - 1, tall, 'class="g"'))
    drawn.append(text(NAMES, base + 16, f"{low:.2f} ×", "m"))
    drawn.append(text(FIGURES, base + 16, f"{high:.2f} ×", "m e"))
    if low <= 1 <= high and high > low:
        x = NAMES + (1 - low) / (high - low) * (FIGURES - NAMES)
        drawn.append(line(x, y + 20, x, base))
    quarters = statistics.quantiles(loads, n=4)
    half = f"half of them between {quarters[0]:.2f} and {quarters[2]:.2f} ×"
    drawn.append(text((NAMES + FIGURES) / 2, base + 16, half, "m c"))
    return drawn


def _keys_on_circle(keys: "Sequence[Key]", centre: Tuple[float, float]) -> Iterator[str]:
    """Each key at its place; those that lie close together one above the other."""
    above: Dict[int, int] = {}
    numbered = len(keys) <= NUMBERED_KEYS
    for number, key in enumerate(keys, 1):
        part = place_of(f"{key.actor_type}:{key.actor_id}") / CIRCLE
        sector = int(part * 45)
        level = min(max(above.get(near % 45, 0) for near in (sector - 1, sector, sector + 1)), 2)
        above[sector] = level + 1
        outer = RADIUS + THICK / 2
        (x1, y1), (x2, y2) = at(centre, outer - THICK, part), at(centre, outer + 8 + 18 * level * numbered, part)
        yield line(x1, y1, x2, y2)
        if numbered:
            x, y = at(centre, outer + 16 + 18 * level, part)
            yield f'<circle cx="{x:.2f}" cy="{y:.2f}" r="8" class="k"/>'
            yield text(round(x, 2), round(y + 3.5, 2), str(number), "kt", f"{key.actor_type}/{key.actor_id}")


def _keys(asked: "Asked", ring: Ring, keys: "Sequence[Key]", y: float) -> Iterator[str]:
    """Who owns each key, and who would."""
    if keys:
        yield text(16, y + 16, "keys", "h")
    for number, (actor_type, actor_id) in enumerate(keys[:NUMBERED_KEYS], 1):
        y += ROW
        key = f"{actor_type}:{actor_id}"
        now, then = ring.now.owner(key), ring.after.owner(key)
        following = ", ".join(ring.now.next_owners(key)) or "nobody"
        moving = f", would move to {then or 'nobody'}" if now != then else ""
        name, where = f"{actor_type}/{actor_id}", f"owner {now or 'nobody'}{moving}; next {following}"
        yield text(40, y + 16, str(number), "m e")
        yield text(48, y + 16, fitting(name, 380), "", name)
        yield text(NAMES, y + 16, fitting(where, FIGURES - NAMES), "", where)
    if len(keys) > NUMBERED_KEYS:
        yield text(48, y + ROW + 16, f"and {len(keys) - NUMBERED_KEYS:,} more", "m")
