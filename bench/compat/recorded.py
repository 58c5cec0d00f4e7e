"""Requests as apps send them that are in no package: read from `payloads`, filled in, sent.

In a payload, `$key`, `$query` and `$count` stand for what is asked, `$documents` for strings, `$passages` for the
same as objects with `text`, and `$parts` for objects with `content` in parts, as chat messages have it.
"""

import json
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

from bench.compat.client import Call, Ranking

FOLDER: Final = Path(__file__).parent / "payloads"
TIMEOUT_S: Final = 60.0


class Recorded:
    """One app's requests, by name."""

    def __init__(self, app: str) -> None:
        text = (FOLDER / f"{app}.json").read_text(encoding="utf-8")
        self._payload: dict[str, Any] = json.loads(text)

    @property
    def version(self) -> str:
        """Where they were read, as no package has one."""
        return f"recorded from {self._payload['source']}"

    def rows(
        self, name: str, call: Call, *, listed: str | None = "results"
    ) -> list[dict[str, Any]]:
        """What the reply lists under that name, or is.  Raises `urllib.error.HTTPError`."""
        reply = self._sent(name, call)
        rows: list[dict[str, Any]] = reply if listed is None else reply[listed]
        return rows

    def reply(self, name: str, call: Call) -> dict[str, Any]:
        """Raises `urllib.error.HTTPError`."""
        reply: dict[str, Any] = self._sent(name, call)
        return reply

    def _sent(self, name: str, call: Call) -> Any:  # noqa: ANN401 -- JSON
        recorded = self._payload["requests"][name]
        body = _filled(recorded.get("json"), call)
        request = Request(  # noqa: S310 -- an address of ours
            call.url + recorded["path"],
            data=None if body is None else json.dumps(body).encode(),
            headers={
                header: value.replace("$key", call.key)
                for header, value in recorded["headers"].items()
            },
            method=recorded["method"],
        )
        with urlopen(request, timeout=TIMEOUT_S) as reply:  # noqa: S310 -- as above
            return json.load(reply)


def _filled(value: object, call: Call) -> object:
    if isinstance(value, dict):
        return {name: _filled(each, call) for name, each in value.items()}
    return _values(call).get(value, value) if isinstance(value, str) else value


def _values(call: Call) -> dict[str, Any]:
    texts = call.documents
    return {
        "$query": call.query,
        "$count": len(texts),
        "$documents": texts,
        "$passages": [{"text": text} for text in texts],
        "$parts": [{"content": [{"type": "text", "text": text}]} for text in texts],
    }


def best_first(scores: list[float]) -> Ranking:
    """Of scores in the order of the documents."""
    return sorted(enumerate(scores), key=lambda each: -each[1])
