"""What a run tells of itself: the same events for every trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class CallbackAny2Vec:
    """A base for callbacks, as gensim's: override what is wanted. Any object will do as well.

    ``model`` is the one that is trained, up to date, and may be looked at, saved, and changed.
    """

    def on_train_begin(self, model: Any) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, model: Any) -> None:
        """Before each epoch."""

    def on_epoch_end(self, model: Any) -> None:
        """After each epoch."""

    def on_train_end(self, model: Any) -> None:
        """After the last epoch."""


class Events:
    """Tells callbacks what happens in a run; they are the same for every trainer.

    ``on_train_begin``, ``on_epoch_begin``, ``on_epoch_end``, ``on_train_end``; of trainers that
    evaluate on held-out data also ``on_evaluate``. A resumed run begins no epoch that had begun
    before, and a stopped one does not end.

    Args:
        callbacks: Objects with methods of these names, or some of them.
        subject: What each is called with.
        before: Called before they are, e.g. to fetch tables from a GPU.
        after: Called after they have been: they may have changed the tables.
    """

    def __init__(
        self,
        callbacks: Sequence[Any],
        subject: Any,
        before: Callable[[], None] | None = None,
        after: Callable[[], None] | None = None,
    ) -> None:
        self._callbacks, self._subject = callbacks, subject
        self._before, self._after = before, after

    def __call__(self, event: str) -> None:
        methods = [getattr(callback, event, None) for callback in self._callbacks]
        if self._callbacks and self._before is not None:
            self._before()
        for method in filter(None, methods):
            method(self._subject)
        if self._callbacks and self._after is not None:
            self._after()
