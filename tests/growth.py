"""How the cost of reading grows with hostile input, for patterns whose steps nobody can count."""

import time

LINEAR = 9.0
"""Four times the input may cost so many times as much; a quadratic reader takes sixteen times."""


def growth(read, make, n, *, n_tries=5):
    """Return the cost of ``read(make(4 * n))`` over that of ``read(make(n))``.

    Each is the least of several tries of processor time, so a busy machine adds little.
    """

    def cost(value):
        spent = []
        for _ in range(n_tries):
            begun = time.process_time()
            read(value)
            spent.append(time.process_time() - begun)
        return min(spent)

    return cost(make(4 * n)) / cost(make(n))
