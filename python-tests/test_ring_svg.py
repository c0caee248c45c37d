"""The picture of a ring: ``quark ring --svg``, read as a program reads it."""

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, List
from xml.etree import ElementTree

import pytest
import quark
from quark._command import output, picture, ring_svg

pytestmark = pytest.mark.one_python

SVG = "{http://www.w3.org/2000/svg}"


def ring(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-m", "quark", "ring", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)


def drawn(file: Path, *arguments: str) -> ElementTree.Element:
    ended = ring("--svg", str(file), *arguments)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    return ElementTree.fromstring(file.read_text(encoding="utf-8"))


def texts(root: ElementTree.Element) -> List[str]:
    return ["".join(e.itertext()) if e.find(f"{SVG}title") is None else list(e.itertext())[-1] for e in root.iter(f"{SVG}text")]


def sectors(root: ElementTree.Element) -> Dict[str, ElementTree.Element]:
    return {path.findtext(f"{SVG}title", "").rpartition(" ")[0]: path for path in root.iter(f"{SVG}path")}


def part_of(path: ElementTree.Element) -> float:
    """How much of the circle sectors take, by the corners of each."""
    part = 0.0
    for outline in path.attrib["d"].split("Z")[:-1]:
        begin, end = [(float(x), float(y)) for x, y in re.findall(r"([0-9.]+) ([0-9.]+)(?=[LAZ]|$)", outline)[:2]]
        angles = [math.atan2(x - ring_svg.CENTRE_X, CENTRE_Y - y) for x, y in (begin, end)]
        part += (angles[1] - angles[0]) % (2 * math.pi) / (2 * math.pi)
    return part


#: Of the first ring.
CENTRE_Y = 48 + 56 + 200


def test_a_few_silos_have_their_sectors_their_bars_and_the_ideal_beside_them(tmp_path):
    root = drawn(tmp_path / "ring.svg", "--silos", "a,b=300,c=50")
    of = quark.HashRing()
    for silo_id, number in (("a", 150), ("b", 300), ("c", 50)):
        of.add(silo_id, number)
    shares = of.shares()
    found = sectors(root)
    assert set(found) == {"a", "b", "c"}
    assert all(abs(part_of(found[silo_id]) - share) < 0.01 for silo_id, share in shares.items())
    assert len({path.attrib["fill"] for path in found.values()}) == 3
    bars = [r for r in root.iter(f"{SVG}rect") if r.attrib.get("x") == f"{ring_svg.BARS:g}"]
    widths = {silo: float(bar.attrib["width"]) for silo, bar in zip("abc", bars)}
    most = max(*shares.values(), 0.6)
    room = ring_svg.BARS_END - ring_svg.BARS
    assert all(abs(widths[silo] - room * shares[silo] / most) < 0.1 for silo in "abc")
    lines = [float(line.attrib["x1"]) for line in root.iter(f"{SVG}line")]
    assert lines == [pytest.approx(ring_svg.BARS + room * ideal / most, abs=0.1) for ideal in (0.3, 0.6, 0.1)]
    assert "3 silos" in texts(root) and "500 points" in texts(root)
    assert f"{100 * shares['b']:.3g}% ({shares['b'] / 0.6:.2f} ×)" in texts(root)


def test_one_silo_is_a_whole_circle_and_no_silo_is_said(tmp_path):
    assert part_of(sectors(drawn(tmp_path / "one.svg", "--silos", "a=1"))["a"]) == pytest.approx(1, abs=0.01)
    root = drawn(tmp_path / "none.svg", "--membership", "memory://picture")
    assert "no silo" in texts(root) and "0 silos" in texts(root)


def test_keys_are_marked_where_they_are_and_say_who_owns_them_and_who_would(tmp_path):
    keys = [f"Counter/{i}" for i in range(6)]
    root = drawn(tmp_path / "ring.svg", "--silos", "a,b,c", *keys)
    of = quark.HashRing()
    for silo_id in "abc":
        of.add(silo_id)
    marks = [c for c in root.iter(f"{SVG}circle") if c.attrib.get("class") == "k"]
    assert len(marks) == len(keys)
    for key, mark in zip(keys, marks):
        x, y = float(mark.attrib["cx"]) - ring_svg.CENTRE_X, CENTRE_Y - float(mark.attrib["cy"])
        assert math.atan2(x, y) / (2 * math.pi) % 1 == pytest.approx(quark.hash(key.replace("/", ":")) / 2**32, abs=1e-3)
        owner, (first, second) = of.owner(key.replace("/", ":")), of.next_owners(key.replace("/", ":"))
        assert key in texts(root) and f"owner {owner}; next {first}, {second}" in texts(root)
    many = drawn(tmp_path / "many.svg", "--silos", "a,b", *(f"T/{i}" for i in range(300)))
    assert "and 260 more" in texts(many) and not [c for c in many.iter(f"{SVG}circle") if c.attrib.get("class") == "k"]


def test_what_would_move_is_beside_what_is(tmp_path):
    changes = ["--joining", "d", "--leaving", "a", "--weight", "b=300"]
    root = drawn(tmp_path / "ring.svg", "--silos", "a,b,c", *changes, "T/1")
    now, then = quark.HashRing(), quark.HashRing()
    for silo_id in "abc":
        now.add(silo_id)
    for silo_id, number in (("b", 300), ("c", 150), ("d", 150)):
        then.add(silo_id, number)
    for silo_id in "abcd":
        figures = [100 * shares.get(silo_id, 0) for shares in (now.shares(), then.shares())]
        assert f"{figures[0]:.1f}% → {figures[1]:.1f}%" in texts(root)
    moved = sum(now.moves(then).values())
    condition = "if d (150 virtual nodes) joined, a left and b had 300 virtual nodes"
    assert f"{condition}: {100 * moved:.1f}% would move" in texts(root)


def test_a_thousand_silos_are_legible_and_no_larger_file(tmp_path):
    weights = {f"silo-{i:04}": 150 for i in range(1000)}
    root = drawn(tmp_path / "ring.svg", "--silos", ",".join(weights), "Counter/42")
    of = quark.HashRing()
    for silo_id in weights:
        of.add(silo_id)
    by_load = sorted(of.shares().items(), key=lambda item: item[1])
    least, most = [silo for silo, _ in by_load[:5]], [silo for silo, _ in by_load[:-6:-1]]
    said = texts(root)
    assert [text for text in said if text in weights] == [*most, *least[::-1]]
    assert "1,000 silos" in said and "150,000 points" in said
    assert f"loads from {by_load[0][1] * 1000:.2f} to {by_load[-1][1] * 1000:.2f} × the ideal" in said
    counted = [float(r.attrib["height"]) for r in root.iter(f"{SVG}rect") if r.attrib.get("class") == "g"]
    assert len(counted) == 24 and counted.index(max(counted)) not in (0, 23)
    assert (tmp_path / "ring.svg").stat().st_size < 64 * 1024
    drawn(tmp_path / "few.svg", "--silos", "a,b,c")
    assert (tmp_path / "few.svg").stat().st_size < 64 * 1024


def test_many_that_join_at_once_are_counted(tmp_path):
    joining = [word for i in range(20) for word in ("--joining", f"new-{i}")]
    few = drawn(tmp_path / "few.svg", "--silos", "a,b", *joining)
    assert set(sectors(few)) == {"a", "b"} and any("new-19 (150 virtual nodes) joined" in text for text in all_text(few))
    nobody = drawn(tmp_path / "nobody.svg", "--membership", "memory://many", *joining)
    assert "no silo" in texts(nobody) and not sectors(nobody)


def all_text(root: ElementTree.Element) -> List[str]:
    return [text for e in root.iter(f"{SVG}text") for text in e.itertext()]


def test_ids_of_others_are_text_whatever_they_are(tmp_path):
    ids = ['<b a="1">&amp;', "']]>\ufffe\uffff", "right\u202eleft", "東京" * 40, "x" * 255]
    silos = [word for silo_id in ids for word in ("--silo", silo_id)]
    root = drawn(tmp_path / "ring.svg", *silos, "T/<script>", "--joining", "</text><x/>", "--leaving", ids[0])
    assert {e.tag for e in root.iter()} == {f"{SVG}{t}" for t in "svg title style rect circle path text line".split()}
    said = texts(root)
    assert ids[0] in said and "']]>\\ufffe\\uffff" in said and "right\\u202eleft" in said and "T/<script>" in said
    assert f"{'x' * 255}" in {title.text for title in root.iter(f"{SVG}title")}, "the whole id is there to be pointed at"
    assert all(width_of(e) <= ring_svg.WIDTH for e in root.iter(f"{SVG}text"))


def width_of(text: ElementTree.Element) -> float:
    """Where a text ends, at most."""
    columns = output.width(list(text.itertext())[-1])
    kinds = text.attrib.get("class", "").split()
    if "e" in kinds:
        return float(text.attrib["x"])
    return float(text.attrib["x"]) + columns * picture.COLUMN * (0.5 if "c" in kinds or "kt" in kinds else 1)


def test_it_is_for_light_and_for_dark_and_says_what_it_is(tmp_path):
    root = drawn(tmp_path / "ring.svg", "--silos", "a,b")
    style = root.findtext(f"{SVG}style", "")
    light, dark = style.split("@media(prefers-color-scheme:dark)")
    for name in ("text", ".m"):
        inks = [re.search(rf"(?:^|[{{}}\n]){re.escape(name)}{{[^}}]*fill:(#\w+)", half)[1] for half in (light, dark)]
        grounds = [re.search(r"\.bg{fill:(#\w+)}", half)[1] for half in (light, dark)]
        assert all(contrast(ink, ground) >= 4.5 for ink, ground in zip(inks, grounds))
    for colour in ring_svg.COLOURS:
        assert contrast(colour, "#fff") >= 2 and contrast(colour, "#0d1117") >= 2
    assert root.attrib["role"] == "img" and root.attrib["aria-label"] == root.findtext(f"{SVG}title") == "ring"


def contrast(one: str, other: str) -> float:
    """As WCAG counts it."""

    def light(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    ended = ring("--silos", "a", "--svg", str(tmp_path / "no" / "ring.svg"))
    assert (ended.returncode, ended.stdout) == (1, "") and "No such file or directory" in ended.stderr
