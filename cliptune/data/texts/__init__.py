"""What is made of words before they are tokens."""
