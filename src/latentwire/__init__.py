"""LatentWire: one trained wire of latent vectors, read by frozen language models of several families."""

__version__ = "0.1.0"
