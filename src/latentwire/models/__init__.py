"""Frozen language models, the one prompt composer, and the trained wire between them."""
