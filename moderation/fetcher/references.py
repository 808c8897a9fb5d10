"""The one way from a reference to its content: by its scheme to a fetcher, which is isolated, held to its time, and checked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from moderation.errors import ItemError
from moderation.item import Fetcher, unfetchable
from moderation.sections import FetchSettings

GRACE = 0.5  # seconds after its own deadline in which a fetcher may still say what was wrong


@dataclass(frozen=True, slots=True)
class Source:
    """A fetcher and the settings that it was made with."""

    fetcher: Fetcher
    settings: FetchSettings


class References:
    """Fetches references, by any number of threads at once.

    A fetch that outlives its time is left behind, as nothing can stop it; while `most` are at work, no other is begun.
    `answered` is called after each, whatever its outcome.
    """

    def __init__(
        self, sources: Mapping[str, Source], *, most: int = 64, answered: Callable[[], object] = lambda: None
    ) -> None:
        self._sources, self._answered = dict(sources), answered
        self._free = threading.BoundedSemaphore(most)

    def fetch(self, reference: str) -> bytes:
        """The content. Raises ItemError, `unfetchable`, with a stable cause, and never anything else."""
        source = self._sources.get(reference.partition(":")[0].casefold())
        if source is None:
            known = ", ".join(sorted(self._sources)) or "none"
            raise unfetchable("no_fetcher", f"the settings have no section for the reference's scheme; known: {known}")
        try:
            content = self._in_time(source, reference)
        finally:
            self._answered()
        if not isinstance(content, bytes):
            raise unfetchable("fetcher_error", "the fetcher gave no bytes")
        if len(content) > source.settings.max_bytes:
            raise unfetchable("too_many_bytes", f"more than {source.settings.max_bytes} bytes")
        return content

    def _in_time(self, source: Source, reference: str) -> bytes:
        if not self._free.acquire(blocking=False):
            raise unfetchable("too_slow", "too many earlier fetches are still at work")
        done: Future[bytes] = Future()
        work = threading.Thread(target=self._work, args=(done, source, reference), name="fetch", daemon=True)
        try:
            work.start()
        except RuntimeError:  # no thread to be had
            self._free.release()
            raise unfetchable("too_slow", "no thread could be started") from None
        try:
            return done.result(source.settings.timeout_seconds + GRACE)
        except ItemError as error:
            told = str(error).removeprefix(f"{error.reason}: ")
            raise unfetchable(error.cause if error.cause.isidentifier() else "fetcher_error", told) from None
        except TimeoutError:
            raise unfetchable("too_slow", "no answer in time") from None
        except Exception as error:  # noqa: BLE001 - whatever a fetcher raises is its own fault; its message may hold content
            raise unfetchable("fetcher_error", f"the fetcher raised {type(error).__name__}") from None

    def _work(self, done: Future[bytes], source: Source, reference: str) -> None:
        try:
            done.set_result(source.fetcher.fetch(reference))
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for, as far as it is an Exception
            done.set_exception(error if isinstance(error, Exception) else RuntimeError(type(error).__name__))
        finally:
            self._free.release()
