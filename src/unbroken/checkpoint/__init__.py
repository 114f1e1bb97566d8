"""A state on the disk: what is captured, how it is written, checked and taken back."""
