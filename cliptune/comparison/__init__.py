"""Runs side by side: which is best, how sure that is, on which classes, and at what cost; from run folders alone."""
