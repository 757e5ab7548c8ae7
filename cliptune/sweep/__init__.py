"""Many runs of one recipe as one command: which there are, running them, and what they come to together."""
