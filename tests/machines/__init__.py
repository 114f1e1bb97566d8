"""`make prove-machines`: the numeric core under processors of several vendors, and one digest for all of them."""
