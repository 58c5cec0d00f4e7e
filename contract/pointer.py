"""The Redis keys and the encoding that say which version of a line is live.

Postgres decides what is live; Redis carries the word quickly. The state is signed, so that whoever
can write to Redis cannot name a model; an epoch only ever rises.
"""

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass, replace
from typing import Final, Self

from contract.refusals import Refusal

PUBLISH: Final = """
-- KEYS: state (hash), events (stream), wake (channel).  ARGV: epoch, signed document
local live = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
local epoch = tonumber(ARGV[1])
if epoch < live then return 'STALE' end
if epoch == live and redis.call('HGET', KEYS[1], 'document') == ARGV[2] then return 'REPEATED' end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'document', ARGV[2])
if epoch > live then
  -- The stream may be ahead of a lost hash; it refuses the id itself, and the state is what counts.
  redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', 1000, string.format('%d-0', epoch), 'epoch', epoch)
end
redis.call('PUBLISH', KEYS[3], epoch)
return 'PUBLISHED'
"""
"""Compare-and-set: any higher epoch wins, a lower one never does, a repeat changes nothing."""


class PointerForged(Refusal):
    """The state in Redis does not carry our signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The names of one line's keys; the braces keep them on one node of a cluster."""

    state: str
    events: str
    wake: str

    @classmethod
    def of(cls, line: str) -> Self:
        prefix = f"{{rankloop:{line}}}"
        return cls(state=f"{prefix}:state", events=f"{prefix}:events", wake=f"{prefix}:wake")


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What a line serves."""

    line: str
    epoch: int
    version: str
    canary_version: str | None = None
    """A second version, which answers a share of the units."""
    canary_share: float = 0.0
    hold_back_version: str | None = None
    """The line's base, which answers a share of the units for good: what learning is measured by."""
    hold_back_share: float = 0.0

    @property
    def held_back(self) -> str | None:
        """The base, where it answers its share: not while it is the champion itself."""
        return None if self.hold_back_version == self.version else self.hold_back_version

    def then(
        self, version: str, *, canary_version: str | None = None, canary_share: float = 0.0
    ) -> Self:
        """The next epoch; a canary ends with the epoch that does not name it, a hold-back goes on."""
        return replace(
            self,
            epoch=self.epoch + 1,
            version=version,
            canary_version=canary_version,
            canary_share=canary_share,
        )

    def signed(self, *, secret: bytes) -> str:
        """The document that `PUBLISH` stores; without a canary and a hold-back it says what it always said."""
        said = {name: value for name, value in asdict(self).items() if value}
        body = json.dumps(said, sort_keys=True)
        return json.dumps({"live": body, "signature": _signature(body, secret)})

    @classmethod
    def of_signed(cls, document: str, *, secret: bytes) -> Self:
        """Raises `PointerForged`."""
        try:
            envelope = json.loads(document)
            body, signature = envelope["live"], envelope["signature"]
            if not hmac.compare_digest(signature, _signature(body, secret)):
                raise PointerForged("the signature does not match")
            return cls(**json.loads(body))
        except (ValueError, TypeError, KeyError, AttributeError) as malformed:
            raise PointerForged("the state is not a signed document") from malformed


def _signature(body: str, secret: bytes) -> str:
    return hmac.new(secret, b"rankloop pointer" + body.encode(), hashlib.sha256).hexdigest()
