"""What dskd computes: corpus, embeddings, senses, relations, dictionary, students, scores.

Nothing in here knows Prefect: every stage is a plain function from artifacts to an artifact.
"""

__version__ = "0.1.0"
