"""What a path may name, opened as tables or streams."""
