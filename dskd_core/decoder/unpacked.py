"""Forward passes over windows of one sequence each: transformers need not ask a GPU whether."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_here = threading.local()


@contextmanager
def one_sequence_a_window() -> Iterator[None]:
    """Let models that this thread runs take every window for one sequence, as all of ours are.

    Without an attention mask transformers looks whether position ids (which it counted itself)
    begin anew within a window: each forward pass would wait for all that the GPU has to do.
    """
    _let_it_be_told()
    before = getattr(_here, "is_told", False)
    _here.is_told = True
    try:
        yield
    finally:
        _here.is_told = before


@cache
def _let_it_be_told() -> None:
    from transformers import masking_utils

    look = getattr(masking_utils, "find_packed_sequence_indices", None)
    if look is None:  # another version of transformers, which may look elsewhere
        return

    def look_unless_told(position_ids: Any) -> Any:
        return None if getattr(_here, "is_told", False) else look(position_ids)

    masking_utils.find_packed_sequence_indices = look_unless_told
