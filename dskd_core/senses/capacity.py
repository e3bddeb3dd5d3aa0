"""Whether a device has the memory to cluster the most frequent token, by arithmetic."""

from dskd_core.config import SensesConfig
from dskd_core.decoder.precision import memory_bytes, torch_device
from dskd_core.embeddings.readers import Embeddings
from dskd_core.errors import CapacityError
from dskd_core.senses.torch_backend import token_bytes


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
