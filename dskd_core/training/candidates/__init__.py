"""The kappa nearest rows of the dictionary at every position (Eq. 4)."""
