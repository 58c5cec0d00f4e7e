"""R2R, which sends no key: for a service that asks for none, or behind something that adds one."""

from typing import Final
from urllib.error import HTTPError

from bench.compat.client import Call, Client, Raises, Ranking
from bench.compat.recorded import Recorded

APP: Final = Recorded("r2r")


def rank(call: Call) -> Ranking:
    found = APP.rows("rerank", call, listed=None)
    return [(each["index"], each["score"]) for each in found]


CLIENTS: Final = [
    Client(
        name="R2R",
        version=APP.version,
        rank=rank,
        unauthorized=Raises(kind=HTTPError, says="401"),
        too_many=Raises(kind=HTTPError, says="413"),
        overloaded=Raises(kind=HTTPError, says="429"),
        sends_key=False,
    )
]
