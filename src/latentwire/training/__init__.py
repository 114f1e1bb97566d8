"""Objective, schedule and the loop, which runs on `unbroken`."""
