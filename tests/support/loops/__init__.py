"""Whole programs as users have them, for `prove`."""
