"""The teacher's final states, a uniform sample of them filed under each token."""
