"""Trainers that own the loop: each module needs its library, and nothing else of `unbroken` imports them."""
