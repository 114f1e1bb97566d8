"""What an answer costs on this machine: time, positions, bytes, memory. Facts of an execution, no results (I12)."""
