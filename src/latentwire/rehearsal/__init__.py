"""The real stages on tiny models, undisturbed and interrupted: what an image is tested with."""
