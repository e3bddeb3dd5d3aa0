"""Artifacts: published whole under a root, checked when read, found by what made them."""
