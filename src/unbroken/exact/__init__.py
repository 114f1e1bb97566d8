"""What decides the bits: random streams, the order of sums, what the numbers depend on besides.

Imports nothing of unbroken but its errors and its JSON: how a state is kept or a process started is no part of it.
"""
