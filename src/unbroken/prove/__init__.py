"""Interrupts a program on purpose and compares it with an undisturbed run."""
