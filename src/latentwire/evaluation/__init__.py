"""Scores without the gold labels of what is scored (invariant I10); a probe learns from those of the training split."""
