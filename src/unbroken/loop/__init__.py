"""What `Run` is made of."""
