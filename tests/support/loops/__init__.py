"""Loops that people have, as programs: tests resume, prove and damage them."""
