"""Text for terminals, pipes and files."""

import atexit
import os
import shutil
import sys
import unicodedata
from typing import List, Sequence, TextIO

#: From an eighth of a character to a whole one.
_BLOCKS = "▏▎▍▌▋▊▉█"


def prepare() -> None:
    """Streams that were closed lead nowhere; what stdout's encoding cannot say is escaped."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = open(os.devnull, "w", encoding="utf-8")
            atexit.register(nowhere.close)
            setattr(sys, name, nowhere)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def finish() -> None:
    """What cannot be written goes nowhere, so that the interpreter does not complain of it at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def printable(text: str) -> str:
    """One line that leaves a terminal as it is, in what stdout's encoding has."""
    encoding = sys.stdout.encoding or "ascii"
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def columns() -> int:
    """The width of the terminal, 80 where there is none."""
    return max(shutil.get_terminal_size((80, 24)).columns, 40)


def width(text: str) -> int:
    """How many columns a text takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def padded(text: str, columns: int) -> str:
    """The text in so many columns; a longer one loses its end."""
    while width(text) > columns:
        text = f"{text[:-2]}~" if len(text) > 1 else ""
    return text + " " * (columns - width(text))


def fitting(text: str) -> str:
    """A line that is not wider than the terminal. A pipe or a file gets all of it."""
    return padded(text, columns()).rstrip() if sys.stdout.isatty() else text.rstrip()


def table(rows: Sequence[Sequence[str]]) -> List[str]:
    """Lines with columns as wide as they need to be."""
    widths = [max(map(width, column)) for column in zip(*rows)]
    return [fitting("  ".join(map(padded, row, widths))) for row in rows]


def has_blocks(stream: TextIO) -> bool:
    """Whether the stream's encoding has block characters."""
    try:
        _BLOCKS.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def bar(part: float, columns: int, blocks: bool) -> str:
    """A bar that fills a part of so many columns."""
    if not blocks:
        return ("#" * round(part * columns)).ljust(columns)
    eighths = round(part * columns * 8)
    return (_BLOCKS[7] * (eighths // 8) + (_BLOCKS[eighths % 8 - 1] if eighths % 8 else "")).ljust(columns)
