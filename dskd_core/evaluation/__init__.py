"""Evaluation: the students on held-out text, how sure the comparison is, and the report."""
