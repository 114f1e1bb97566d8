"""What is here, what is missing, what to do: this machine, the image, the memory that a training needs."""
