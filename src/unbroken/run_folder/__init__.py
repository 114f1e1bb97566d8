"""The other files of a run: its identity, journal, events, verdict and lock."""
