"""How results came about: hardware, time, restarts, disk, utilisation. None of it is a result (invariant I12)."""
