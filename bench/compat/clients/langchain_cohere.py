"""langchain-cohere: a document compressor for LangChain's retrievers."""

from importlib.metadata import version
from typing import Final

from cohere.errors import UnauthorizedError, UnprocessableEntityError
from langchain_cohere import CohereRerank
from langchain_core.documents import Document
from pydantic import SecretStr

from bench.compat.client import Call, Client, Raises, Ranking


def rank(call: Call) -> Ranking:
    compressor = CohereRerank(
        cohere_api_key=SecretStr(call.key), base_url=call.url, model="any", top_n=None
    )
    documents = [Document(page_content=text) for text in call.documents]
    found = compressor.compress_documents(documents, call.query)
    return [call.place(each.page_content, each.metadata["relevance_score"]) for each in found]


CLIENTS: Final = [
    Client(
        name="langchain-cohere",
        version=version("langchain-cohere"),
        rank=rank,
        unauthorized=Raises(kind=UnauthorizedError, says="key"),
        too_many=Raises(kind=UnprocessableEntityError, says="more than"),
    )
]
