"""What learns: one file per method; they share `base.Method` and never import one another."""
