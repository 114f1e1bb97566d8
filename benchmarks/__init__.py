"""Side by side with peers, both sides in one run; only ratios are comparable between machines.

What is measured computes with the kernels of the pipeline: this comes before numpy and torch are imported.
"""

from latentwire.environment import set_kernels

set_kernels("portable")
