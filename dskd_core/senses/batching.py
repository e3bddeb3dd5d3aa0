"""A range of tokens piece by piece: read ahead of the arithmetic, and clustered if it fits."""

from collections.abc import Iterator

import numpy as np

from dskd_core.ahead import made_ahead
from dskd_core.config import SensesConfig
from dskd_core.decoder.precision import memory_bytes, torch_device
from dskd_core.embeddings.readers import Embeddings, TokenRows
from dskd_core.errors import CapacityError, DataError
from dskd_core.senses.adaptive import cluster_at_price
from dskd_core.senses.kmeans import Clustering, cluster
from dskd_core.senses.torch_backend import token_bytes
from dskd_core.shards import Shard, cut


def read_ahead(reader: Embeddings, shard: Shard, batch_bytes: int) -> Iterator[TokenRows]:
    """Yield the rows of a range piece by piece; a thread reads the next while one is used.

    A piece has at most ``batch_bytes`` of float32 states, or one token's if that is more.
    """
    max_rows = max(1, batch_bytes // (4 * reader.hidden_size))
    pieces = cut(reader.n_rows[shard.start : shard.stop], max_rows)
    yield from made_ahead(
        lambda piece: reader.read(shard.start + piece.start, shard.start + piece.stop), pieces
    )


def cluster_rows(
    rows: TokenRows, config: SensesConfig, shard: Shard, price: float | None
) -> list[Clustering]:
    """Cluster the tokens of a piece: k fixed, or, if there is a price of a sense, adaptive.

    Raises:
        DataError: if a row has a NaN or an infinity; the message names the shard.
    """
    points, token_ids = np.split(rows.states, rows.offsets[1:-1]), rows.tokens.tolist()
    try:
        if price is None:
            return cluster(points, token_ids, config)
        return cluster_at_price(points, token_ids, config, price=price)
    except DataError as error:
        raise DataError(f"In the senses shard {shard.name}: {error}") from error


def check_memory(config: SensesConfig, reader: Embeddings) -> None:
    """Check that all restarts of one token fit into the memory of the device.

    A batch may be halved down to one token, but no further. scikit-learn and cuML fit one restart
    after the other.

    Raises:
        CapacityError: if they do not.
    """
    n_rows, n_senses = int(reader.n_rows.max(initial=1)), config.n_senses
    if config.choice == "adaptive":
        n_senses = max(n_senses, config.max_senses)
    n_senses = min(n_senses, n_rows)
    n_restarts = config.n_restarts if config.backend == "torch" else 1
    device = torch_device(config.device if config.backend != "sklearn" else "cpu")
    needed = token_bytes(n_rows, reader.hidden_size, n_senses, n_restarts)
    if needed > (there := memory_bytes(device)):
        raise CapacityError(
            f"k-means of one token of {n_rows:,} embeddings takes {needed / 2**30:.1f} GiB with "
            f"{n_restarts:,} restarts (senses.n_restarts) of {n_senses:,} senses, more than the "
            f"{there / 2**30:.1f} GiB of {device}; lower them, or embeddings.max_occurrences."
        )
