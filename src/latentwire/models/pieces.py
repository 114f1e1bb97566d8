"""How pieces of text follow each other in a prompt: with the space and with the tokens that running text has there.

Most tokenizers have one token for a word after a space and another for the same word after anything else, and models
know the second one from the inside of words. So "Review:" and "the film" are never put together as "Review:the film".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

Tokenise = Callable[[str], list[int]]
"""Text → token ids without special tokens."""

STAND_IN = "a"
"""A word in the place of what is not known when a piece is tokenised that follows it: the wire, or any text."""

_QUOTES = "\"'`"
"""Marks that open and close alike."""
_ENDS = ".,;:!?"


def space_piece(before: str, piece: str) -> str:
    """The piece, with one space in front of it where the two would otherwise be glued together.

    White space that `before` ends with or `piece` begins with is not doubled; spaces at the end of `before` become the
    piece's, since tokenizers put them into the token of the word. After an opening bracket or quote, and between
    characters of scripts that write no spaces, there is none.
    """
    body = before.rstrip(" ")
    if not piece or not body:
        return piece.lstrip(" ")
    if body != before:
        return before[len(body) :] + piece.lstrip(" ")
    apart = body[-1].isspace() or piece[0].isspace() or _opens(body) or _is_wide(body[-1]) or _is_wide(piece[0])
    return piece if apart else f" {piece}"


def space_anchor(anchor: str) -> str:
    """An anchor as it stands after a text: as other pieces do, but what closes or ends something touches the text."""
    return anchor if _closes(anchor) else space_piece(STAND_IN, anchor)


def tokenise_after(tokenise: Tokenise, before: str, piece: str) -> list[int] | None:
    """Token ids that the piece has after `before`; None where it changes the tokens of `before`."""
    begin, joint = tokenise(before), tokenise(before + piece)
    return joint[len(begin) :] if joint[: len(begin)] == begin else None


def tokenise_text(tokenise: Tokenise, primer: str, text: str) -> list[int]:
    """Token ids of an example's text after the primer, white space around the text aside.

    The tokens of the primer are the same before every text and before the wire. A text that would change them has the
    tokens that it has after any other word.
    """
    piece, body = space_piece(primer, text.strip()), primer.rstrip(" ")
    for before in (body, STAND_IN) if body and piece else ():
        ids = tokenise_after(tokenise, before, piece)
        if ids is not None:
            return ids
    return tokenise(piece.strip()) if piece else []


def _opens(before: str) -> bool:
    """Whether the last character is a bracket or quote that opens."""
    if before[-1] in _QUOTES:
        return len(before) == 1 or before[-2].isspace() or unicodedata.category(before[-2]) in ("Ps", "Pi")
    return unicodedata.category(before[-1]) in ("Ps", "Pi")


def _closes(piece: str) -> bool:
    """Whether the first character is a bracket, quote or mark that ends what was before."""
    if piece[:1] in _ENDS or unicodedata.category(piece[0]) in ("Pe", "Pf"):
        return True
    return piece[0] in _QUOTES and (len(piece) == 1 or piece[1].isspace() or _closes(piece[1:]))


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")
