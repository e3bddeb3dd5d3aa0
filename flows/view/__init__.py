"""What a person sees while a run is under way, in a terminal or a log."""
