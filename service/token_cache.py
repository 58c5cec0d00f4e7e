"""Tokens of documents that came before: the same documents are asked about again and again."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock
from typing import Final

from cachetools import LRUCache

from contract.tokens import Tokens
from service.metrics import Metrics

_KEY_BYTES: Final = 16
_ENTRY_BYTES: Final = 400
"""What Python needs for an entry beside its ids, about."""


class TokenCache:
    """The latest used documents as ids, in this process's memory; safe to use from several threads.

    No text is kept, and a document is known by a hash under a key of this process alone.
    """

    def __init__(self, metrics: Metrics, *, max_bytes: int) -> None:
        self._metrics = metrics
        self._entries: LRUCache[bytes, Tokens] = LRUCache(max_bytes, getsizeof=_size)
        self._lock = Lock()
        self._key = secrets.token_bytes(_KEY_BYTES)

    def of(self, tenant: str, *, tokenizer: str, max_length: int) -> "Remembering | None":
        """A tenant's part of it, None where nothing is kept.

        Nobody learns from the time of an answer what another tenant asked about.  Versions with the same tokenizer
        share theirs, so a swap loses nothing.

        tokenizer: the sha256 of its file.
        """
        if not self._entries.maxsize:
            return None
        said = f"{tokenizer} {max_length} {tenant}".encode()
        scope = blake2b(said, key=self._key, digest_size=blake2b.PERSON_SIZE).digest()
        return Remembering(cache=self, scope=scope)

    def key(self, document: str, scope: bytes) -> bytes:
        """What a document is known by."""
        return blake2b(
            document.encode(), key=self._key, person=scope, digest_size=_KEY_BYTES
        ).digest()

    def known(self, keys: Sequence[bytes]) -> dict[bytes, Tokens]:
        """Those of them that are here."""
        with self._lock:
            found = {key: self._entries.get(key) for key in keys}
        return {key: tokens for key, tokens in found.items() if tokens is not None}

    def keep(self, made: dict[bytes, Tokens]) -> None:
        """Pushes out what was not used for longest; one larger than all of it is not kept."""
        with self._lock:
            for key, tokens in made.items():
                if _size(tokens) <= self._entries.maxsize:
                    self._entries[key] = tokens
            self._metrics.token_cache_bytes.set(self._entries.currsize)

    def count(self, *, hits: int, misses: int) -> None:
        """Of the documents of one request."""
        self._metrics.token_cache_hits.inc(hits)
        self._metrics.token_cache_misses.inc(misses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembering:
    """The documents of one tenant, tokenizer and maximum length: a `Memory`."""

    cache: TokenCache
    scope: bytes

    def recall(
        self, documents: Sequence[str], tokenise: Callable[[Sequence[str]], Sequence[Tokens]]
    ) -> list[Tokens]:
        """Tokens of each document, in order."""
        keys = [self.cache.key(document, self.scope) for document in documents]
        known = self.cache.known(keys)
        fresh = {
            key: document for key, document in zip(keys, documents, strict=True) if key not in known
        }
        if fresh:
            made = dict(zip(fresh, tokenise(list(fresh.values())), strict=True))
            self.cache.keep(made)
            known |= made
        self.cache.count(hits=len(documents) - len(fresh), misses=len(fresh))
        return [known[key] for key in keys]


def _size(tokens: Tokens) -> int:
    return tokens.ids.nbytes + _ENTRY_BYTES
