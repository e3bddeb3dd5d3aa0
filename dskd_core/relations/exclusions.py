"""The exclude list of a lexicon, applied to the pairs that negation makes."""

import duckdb
import pyarrow as pa

from dskd_core.lexicon.exclusions import EXCLUSIONS
from dskd_core.relations.negation import fold
from dskd_core.store.artifacts import Artifact

_EXCLUDE = """
DELETE FROM origins WHERE key_a IN (SELECT key_a FROM struck_out WHERE key_b = '')
   OR key_b IN (SELECT key_a FROM struck_out WHERE key_b = '')
   OR (key_a, key_b, relation) IN (
       SELECT (least(s.key_a, s.key_b), greatest(s.key_a, s.key_b), r.relation)
       FROM struck_out s, (VALUES ('synonym'), ('antonym')) r (relation)
       WHERE s.key_b <> '' AND s.relation IN ('', r.relation)
   )
"""


def exclude_derived(connection: duckdb.DuckDBPyConnection, lexicon: Artifact) -> dict[str, int]:
    """Drop from ``origins`` what the lexicon's exclude list names, and return how much that was.

    The lexicon has dropped its own rows already, and with them what would have been made of them.
    Nothing is counted where there is no list.
    """
    if EXCLUSIONS not in lexicon.record.files:
        return {}
    listed = lexicon.table(EXCLUSIONS)
    keys = {
        f"key_{side}": pa.array(map(fold, listed[f"word_{side}"].to_pylist()), pa.string())
        for side in "ab"
    }
    connection.register("struck_out", pa.table(keys | {"relation": listed["relation"]}))
    (n_dropped,), *_ = connection.execute(_EXCLUDE).fetchall()
    return {"excluded_by_list": int(n_dropped)}
