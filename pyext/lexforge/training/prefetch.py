"""Drawing training data ahead of its use."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """The items of an iterable, made ahead in a thread of its own.

    The order is that of the iterable, and what it raises comes out where its next item would. A
    context manager: at its end the thread ends after the item it is at.

    Args:
        items: Iterated in the thread. It pays when making an item leaves the interpreter lock to
            others.
        ahead: How many finished items may wait.

    Example:
        >>> with Prefetch(range(3)) as items:
        ...     list(items)
        [0, 1, 2]
    """

    def __init__(self, items: Iterable[T], ahead: int = 2) -> None:
        self._items = items
        self._ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(ahead)
        self._closed = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._make, name="prefetch", daemon=True)
        self._thread.start()

    def _make(self) -> None:
        try:
            for item in self._items:
                if not self._put((item, None)):
                    return
            self._put((None, StopIteration()))
        except BaseException as error:
            self._put((None, error))

    def _put(self, entry: tuple[T | None, BaseException | None]) -> bool:
        while not self._closed.is_set():
            try:
                self._ready.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._ended:
            raise StopIteration
        item, error = self._ready.get()
        if error is not None:
            self._ended = True
            raise error
        return item

    def close(self) -> None:
        """End the thread; items that wait are dropped."""
        self._closed.set()
        self._ended = True
        self._thread.join()

    def __enter__(self) -> Prefetch[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
