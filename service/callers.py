"""Who asks: the holder of a key, a browser with the token of one decision, or anybody where no key is needed."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from service import feedback_token, keys
from service.errors import Forbidden, Unauthorized
from service.keyring import Keyring
from service.keys import Scope

TOKEN: Final = "feedback_token"  # noqa: S105 - the name of a scope
"""The scope of feedback tokens, which no key has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """For whom a request is answered, and what it may be about."""

    tenant: str
    scopes: frozenset[str]
    decision_id: UUID | None = None
    """The only decision it may speak of; None does not bound it."""

    def must_have_one_of(self, scopes: tuple[str, ...]) -> None:
        """Raises `Forbidden`."""
        if self.scopes.isdisjoint(scopes):
            wanted = " or ".join(scope for scope in scopes if scope != TOKEN)
            raise Forbidden(f"this takes a key with the scope {wanted}")


ANYBODY: Final = Caller(tenant="default", scopes=frozenset(Scope))
"""Who sends no key where none is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """Tells callers by their Authorization header."""

    keyring: Keyring
    secret: bytes
    keys_required: bool

    async def of(self, authorization: str | None) -> Caller:
        """Raises `Unauthorized`, and `DatabaseAway` where nobody can say."""
        credential = _credential(authorization or "")
        if credential.startswith(keys.PREFIX):
            record = await self.keyring.find(credential)
            return Caller(tenant=record.tenant, scopes=record.scopes)
        if credential.startswith(feedback_token.PREFIX):
            return self._with_token(credential)
        if self.keys_required:
            raise Unauthorized("a key is needed, as Authorization: Bearer rl_...")
        # The clients of other rerankers always send something; it was never a key of ours.
        return ANYBODY

    def _with_token(self, token: str) -> Caller:
        grant = feedback_token.verify(token, secret=self.secret, now=datetime.now(UTC))
        if grant is None:
            raise Unauthorized("the feedback token is not ours, or has expired")
        return Caller(tenant=grant.tenant, scopes=frozenset({TOKEN}), decision_id=grant.decision_id)


def _credential(authorization: str) -> str:
    """The key alone: some clients send `Bearer` before it, some do not."""
    scheme, _, rest = authorization.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else authorization.strip()
