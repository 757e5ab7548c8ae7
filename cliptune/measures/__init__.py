"""What is measured beside accuracy and recall, each by one key: composition, bias, fine detail, templates."""
