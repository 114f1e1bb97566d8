"""Tables, figures and the paper, from `stats.json` and `curves.csv` alone."""
