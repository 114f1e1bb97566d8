"""Scores without gold labels: nothing in here ever receives one (invariant I10)."""
