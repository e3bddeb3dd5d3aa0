"""What a k-means backend is told."""

from dataclasses import dataclass


@dataclass(frozen=True)
class KMeansSettings:
    """The settings of one clustering, the precision resolved.

    Attributes:
        n_senses: k.
        n_restarts: starts tried for each token.
        max_iterations: most Lloyd iterations of a start.
        seed: with a token's id, it fixes the token's random numbers.
        device: a torch device; scikit-learn runs on the CPU whatever it says.
        coarse_dtype: precision of the rounds that choose among starts; scikit-learn has none.
        batch_bytes: memory the torch backend may use at a time; the others hold one token.
    """

    n_senses: int
    n_restarts: int
    max_iterations: int
    seed: int
    device: str
    coarse_dtype: str
    batch_bytes: int
