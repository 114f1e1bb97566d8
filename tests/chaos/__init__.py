"""Faults at every file operation and at any time, against a reference training: `python -m tests.chaos --help`."""
