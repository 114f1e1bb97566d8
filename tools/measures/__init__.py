"""What `tools/house.py` measures, one module for each kind of question. Standard library only."""
