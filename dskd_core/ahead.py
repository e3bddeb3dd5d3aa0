"""Work that is done in a thread, some pieces ahead of whoever uses them."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Key = TypeVar("Key")
Made = TypeVar("Made")


def made_ahead(
    make: Callable[[Key], Made], keys: Iterable[Key], *, depth: int = 1
) -> Generator[Made]:
    """Yield what is made of each key, in order; a thread makes the next while one is used.

    One thread makes one after the other. An error is raised where its piece is asked for. Once
    the iterator is exhausted or closed the thread is gone, and nothing of what it made is kept.

    Args:
        make: called in the thread.
        keys: looked at one by one, as places become free.
        depth: most pieces that are made, or being made, beyond the one in use.

    >>> list(made_ahead(lambda number: number**2, [1, 2, 3]))
    [1, 4, 9]
    """
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(1, "dskd-ahead") as pool:
        try:
            for key in keys:
                waiting.append(pool.submit(make, key))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            waiting.clear()
