"""Experiments on the trained wire: which, how they are run, what is stored of them, and the page that says it."""
