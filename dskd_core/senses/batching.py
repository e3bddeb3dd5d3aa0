"""A range of tokens piece by piece: read ahead of the arithmetic, and clustered."""

from collections.abc import Iterator

import numpy as np

from dskd_core.ahead import made_ahead
from dskd_core.config import SensesConfig
from dskd_core.embeddings.readers import Embeddings, TokenRows
from dskd_core.errors import DataError
from dskd_core.senses.adaptive import cluster_at_price
from dskd_core.senses.kmeans import Clustering, cluster
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
