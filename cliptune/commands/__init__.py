"""The commands without a config: light typed functions, one file each; what they need is imported inside, so that they answer at once."""
