"""Starts the processes of a training where neither torchrun nor srun does, on one machine or several. Imports no torch.

No other room imports this one: a group (`unbroken.processes`) reads its ranks from the environment, whoever set them.
"""
