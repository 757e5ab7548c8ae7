"""What the data is like before anything is trained on it, and what that speaks for."""
