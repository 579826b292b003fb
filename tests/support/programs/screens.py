"""What stands on a terminal after each change of its live line, by another program's terminal emulation."""
import pyte

from shori_programs import TRAIN
from terminals import Terminal

LIVE = b"\r\x1b[K"


def on_screen(columns, *arguments, env):
    """The bytes that shori-train writes to a terminal of 24 rows; it must end well."""
    with Terminal(TRAIN, *arguments, env=env, size=(24, columns)) as terminal:
        assert terminal.finish() == 0, terminal.text
        return terminal.raw


def screens(raw, rows, columns):
    """(text, row under the cursor, all rows) after each time that the live line was drawn, or cleared: text is "" then."""
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    first, *pieces = raw.split(LIVE)
    stream.feed(first)
    for piece in pieces:
        stream.feed(LIVE + piece)
        text = piece.decode(errors="replace")
        if "\n" not in text:
            yield text, screen.display[screen.cursor.y].rstrip(), screen.display


def lines_on(raw, columns):
    """Every line that is left in the end, from the first, on a terminal that is high enough for all."""
    screen = pyte.Screen(columns, 500)
    pyte.ByteStream(screen).feed(raw)
    return [line.rstrip() for line in screen.display[:screen.cursor.y + 1]]
