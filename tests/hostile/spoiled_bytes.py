"""What both searches share: how they are run, and files whose bytes are spoiled without knowing what they mean."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def searching(examples: int) -> Callable[[Any], Any]:
    """The settings of a search: as many examples, the same ones every time, however slow each is."""
    return settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )


@st.composite
def spoiled_bytes(
    draw: st.DrawFn,
    originals: Callable[[], Sequence[bytes]],
    numbers: Sequence[int],
    codes: Sequence[str],
    snippets: Sequence[bytes],
    *,
    most: int,
    beginning: int | None = None,
) -> bytes:
    """A file with bytes flipped, overwritten, cut out, doubled, or taken from another file.

    Args:
        draw: hypothesis's.
        originals: gives the sound files.
        numbers: that are written over bytes.
        codes: of ``struct``, how they are written.
        snippets: that are put between bytes.
        most: how many times the file is spoiled.
        beginning: bytes at its beginning, where most of what a reader believes stands, that are spoiled half of the
            time; None spoils all places alike.
    """
    content = bytearray(draw(st.sampled_from(originals())))
    for _ in range(draw(st.integers(1, most))):
        near = beginning is not None and draw(st.booleans())
        at = draw(st.integers(0, min(len(content), beginning or 0) if near else len(content)))
        length = draw(st.integers(1, 64))
        match draw(st.sampled_from(("flip", "number", "cut", "double", "insert", "splice", "truncate"))):
            case "flip" if at < len(content):
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "number":
                code = draw(st.sampled_from(codes))
                value = draw(st.sampled_from(numbers)) % 2 ** (8 * struct.calcsize(code))
                content[at : at + struct.calcsize(code)] = struct.pack(code, value)
            case "cut":
                del content[at : at + length]
            case "double":
                content[at:at] = content[at : at + length]
            case "insert":
                content[at:at] = draw(st.sampled_from(snippets))
            case "splice":
                content[at : at + length] = draw(st.sampled_from(originals()))[at : at + length]
            case "truncate":
                del content[at:]
    return bytes(content)
