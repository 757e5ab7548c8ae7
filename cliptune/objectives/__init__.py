"""What is minimised: losses on unit rows, in float32 under any precision, the same on any number of processes."""
