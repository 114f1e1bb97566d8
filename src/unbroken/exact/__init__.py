"""What decides the bits: random streams, the order of sums, what the numbers depend on besides.

Imports nothing of unbroken but its errors and its JSON: no code that only carries can change a result.
"""
