"""Evidence: trace a number to its predictions, and verify published results."""
