"""`make prove-elastic`: the real train stage on changing numbers of processes, and one digest for all of them."""
