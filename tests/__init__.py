"""Tests compute with the kernels of the pipeline; this comes before numpy and torch are imported by any of them."""

from latentwire.environment import set_kernels

set_kernels("portable")
