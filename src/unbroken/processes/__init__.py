"""Several processes of one training: how they start, find each other and stay alike."""
