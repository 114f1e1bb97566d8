"""Several processes of one training: how they find each other, get one state and stay alike."""
