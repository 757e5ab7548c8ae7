"""What is seen: reading, splits, columns, texts, batches."""
