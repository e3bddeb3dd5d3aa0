"""A causal language model as this project sees one. Knows no stage."""
