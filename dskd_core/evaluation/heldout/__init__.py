"""One model on held-out text."""
