"""Eq. 3-5 of arXiv:2602.22351. Arrays in, scalars out; no disk."""
