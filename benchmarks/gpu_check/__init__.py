"""`make gpu-check`: what can only be shown on a GPU, in eight minutes on one card."""
