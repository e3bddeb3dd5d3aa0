"""One module a source of word pairs or derivations, found by looking (see ../registry.py)."""
