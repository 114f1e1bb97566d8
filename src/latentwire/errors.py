"""The errors of `latentwire`; each message says what was found, what was expected, where, and the next command."""

from __future__ import annotations

from latentwire.passwords import hide_passwords


class LatentWireError(Exception):
    """Something failed and a sentence explains it; the process exits with 1."""

    exit_code = 1

    def __init__(self, sentence: object = "") -> None:
        # What a server or a library answered is part of many a sentence, with the URL that it was asked by.
        super().__init__(hide_passwords(str(sentence)))


class ConfigurationError(LatentWireError):
    """Wrong parameters, a missing file, or data that is not what the parameters pin; exits with 2."""

    exit_code = 2


class EvidenceError(LatentWireError):
    """A table or a statistic was refused: cells missing, examples unequal, comparisons unpaired; exits with 1."""
