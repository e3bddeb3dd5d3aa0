"""The report: what was compared, what was found, and how one can tell."""
