"""What is computed once and kept on disk, for later epochs and runs."""
