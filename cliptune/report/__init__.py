"""A run as one page: what was run, what was won, what was forgotten, and where the model errs."""
