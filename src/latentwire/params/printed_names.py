"""Names as the report prints them: which characters its fonts have, and how long a name may be.

PDF, page, Markdown and figures take the same names, so that all of them can be made or none.
"""

from __future__ import annotations

import re
import unicodedata

ACCENTED = (
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿ"
    "ĀāĂăĄąĆćĈĉĊċČčĎďĐđĒēĔĕĖėĘęĚěĜĝĞğĠġĢģĤĥĨĩĪīĬĭĮįİıĲĳĴĵĶķĹĺĻļĽľŁłŃńŅņŇňŊŋ"
    "ŌōŎŏŐőŒœŔŕŖŗŘřŚśŜŝŞşŠšŢţŤťŨũŪūŬŭŮůŰűŲųŴŵŶŷŸŹźŻżŽžȘșȚț"
)
GREEK = "αβγδεζηθικλμνξπρςστυφχψωΓΔΘΛΞΠΣΥΦΨΩ"
MARKS = "\u00a0\u202f¡¿§¶¨¯´¸ªº¦©®™№¤¢£¥€°µ¹²³¼½¾·•…†‡‰※–—‘’‚“”„«»‹›"
MATHEMATICAL = "¬±×÷−≤≥≠≈≡∼∞∈∂∇∑∏√←→↑↓↔⇒"
PRINTED = frozenset({*map(chr, range(0x20, 0x7F)), *ACCENTED, *GREEK, *MARKS, *MATHEMATICAL})
"""Characters that LaTeX's T1 and TS1 fonts, its mathematics and the font of the figures all have."""
MOST_LETTERS = 60
"""A table breaks a long name into lines; more than this would be a sentence."""


def clean_title(text: str) -> str:
    """The text without blanks around it, with one blank between words, and with accents on their letters.

    Raises:
        ValueError: There is no letter, or one that the report does not have; the message names it and where it is.
    """
    cleaned = unicodedata.normalize("NFC", re.sub(r"[ \t\r\n]+", " ", text).strip())
    if not cleaned:
        raise ValueError(f"{text!r} has no letter; expected what the report is to print there")
    for place, letter in enumerate(cleaned, 1):
        if letter not in PRINTED:
            name = unicodedata.name(letter, "a character without a name")
            raise ValueError(
                f"{cleaned!r} has U+{ord(letter):04X} ({name}) at place {place}, which the fonts of the report do not "
                "have; expected Latin and Greek letters, digits and common signs"
            )
    return cleaned


def clean_name(text: str) -> str:
    """A name that fits into a table, cleaned as a title is.

    Raises:
        ValueError: The report has no such character, or the name is too long.
    """
    cleaned = clean_title(text)
    if len(cleaned) > MOST_LETTERS:
        raise ValueError(
            f"{cleaned!r} has {len(cleaned)} letters; expected at most {MOST_LETTERS}, for which the tables have room"
        )
    return cleaned
