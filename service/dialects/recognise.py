"""Which dialect a body speaks: its keys tell, in this order, whatever the path."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

from pydantic import Discriminator, Tag

from service.dialects.dialect import SIDES, Dialect
from service.dialects.mixedbread import DataResponse, InputRequest
from service.dialects.nim import RankingRequest, RankingResponse
from service.dialects.objects import RerankRequest, RerankResponse
from service.dialects.scoring import ScoreRequest, ScoreResponse
from service.dialects.tei import RankRequest, Ranks
from service.dialects.voyage import TopKRequest, TopKResponse

DIALECTS: Final[Mapping[str, type[Dialect]]] = {
    each.name: each
    for each in (
        RankRequest,
        RankingRequest,
        InputRequest,
        TopKRequest,
        ScoreRequest,
        RerankRequest,
    )
}


def name_of(body: object) -> str:
    """The name of the dialect; the one of most clients where nothing tells."""
    says = body.keys() if isinstance(body, Mapping) else set[Any]()
    if "texts" in says:
        return RankRequest.name
    if "passages" in says:
        return RankingRequest.name
    if "input" in says and "documents" not in says:
        return InputRequest.name
    if any(one in says and two in says for one, two in SIDES):
        return ScoreRequest.name
    if "top_k" in says or "truncation" in says:
        return TopKRequest.name
    return RerankRequest.name


def dialect_of(body: object) -> type[Dialect]:
    return DIALECTS[name_of(body)]


AnyRequest: TypeAlias = Annotated[
    Annotated[RerankRequest, Tag(RerankRequest.name)]
    | Annotated[TopKRequest, Tag(TopKRequest.name)]
    | Annotated[RankRequest, Tag(RankRequest.name)]
    | Annotated[RankingRequest, Tag(RankingRequest.name)]
    | Annotated[InputRequest, Tag(InputRequest.name)]
    | Annotated[ScoreRequest, Tag(ScoreRequest.name)],
    Discriminator(name_of),
]
AnyResponse: TypeAlias = (
    RerankResponse | TopKResponse | Ranks | RankingResponse | DataResponse | ScoreResponse
)
