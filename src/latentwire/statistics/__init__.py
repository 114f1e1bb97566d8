"""Intervals, tests and effect sizes over (seed × example) matrices, and the evidence that they need."""
