"""Evidence: trace a number to its predictions, verify published results, archive them, report the execution."""
