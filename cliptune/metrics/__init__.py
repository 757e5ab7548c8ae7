"""What is reported of a model's answers: pure functions of them. Who collects the answers is `evaluation.py`."""
