"""What a parameter file will cost, said before anything runs."""
