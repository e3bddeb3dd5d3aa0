"""Sense inventory (Eq. 1): k-means of each token's embeddings, and its artifact."""
