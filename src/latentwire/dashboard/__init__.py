"""`latentwire dashboard`: one page on the training, which needs nothing but itself."""
