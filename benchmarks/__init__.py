"""Side by side with peers, both sides in one run; only ratios are comparable between machines."""
