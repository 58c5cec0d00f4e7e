"""Loaded by schemathesis: counts what it sends, and knows the rules that JSON Schema cannot say."""

import atexit
import itertools
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import RejectedPositiveData

from bench.fuzz.tally import SAVED_AT, Tally
from service.texts import MAX_NAME

UNSAYABLE: Final = {
    "as many as there are texts": "two lists of the same length",
    "came before, with another body": "an id or key that was used for something else",
    "came before with another body": "an id or key that was used for something else",
    "no such feedback": "it supersedes what is there",
    "no document of this decision": "the decision has such a document",
    "the decision has ": "the decision has so many documents",
    "documents were shown": "the decision showed so many documents",
    "has no text": "a document without a text of its own has a field that rank_fields names",
    "does not fit": "how many tokens a text has",
    "is nested deeper": "depth",
    "too much work waits": "what the service is busy with",
    "beyond its deadline": "what the service is busy with",
    "is a number that is not finite": "a string that reads as a number has to be a finite one",
}
"""What the service says where a request keeps to the document and not to one of these rules."""

_tally = Tally()
_lock = threading.Lock()
_numbers = itertools.count()

# Of all years that RFC 3339 can write, most are none of ours: a pattern would find few of them.
schemathesis.openapi.format(
    "date-time",
    st.integers(0, 7 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC).isoformat()),
)


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Where requests would add a password, to a request that is otherwise done, it adds to the key."""
    del context, case
    kwargs["auth"] = _with_a_key_of_its_own


@schemathesis.hook
def after_call(context: HookContext, case: Case, response: Response) -> None:
    del context
    with _lock:
        _tally.count(response.status_code, response.content, of=f"{case.method} {case.path}")


@schemathesis.hook
def after_network_error(
    context: HookContext, case: Case, request: requests.PreparedRequest
) -> None:
    del context, request
    with _lock:
        _tally.find(f"{case.method} {case.path}: no response")


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Whether it is one."""
    del context, case
    if not isinstance(failure, RejectedPositiveData):
        return True
    said = response.text
    rule = next((rule for words, rule in UNSAYABLE.items() if words in said), None)
    if rule is not None:
        with _lock:
            _tally.unsayable[rule] += 1
    return rule is None


def _with_a_key_of_its_own(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """The generated keys are few, and all requests but the first with each of them would be refused."""
    key = request.headers.get("Idempotency-Key", "")
    if 0 < len(key) < MAX_NAME // 2:
        request.headers["Idempotency-Key"] = f"{key!s}{next(_numbers)}"
    return request


def _save() -> None:
    if SAVED_AT in os.environ:
        _tally.save(Path(os.environ[SAVED_AT]))


atexit.register(_save)
