"""Where sentences for the user go unless the caller says otherwise."""

from __future__ import annotations

import logging


def log(sentence: str) -> None:
    """As a warning of the logger `unbroken`: visible even where nobody has configured logging."""
    logging.getLogger("unbroken").warning("%s", sentence)
