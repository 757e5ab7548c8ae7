"""Taking a model away: one file for each format, and the proof that the other library gives the same."""
