"""One thin module per DVC stage: stage name = params key = module = folder under `results/`."""
