from collections.abc import Sequence

import httpx

from examples.demo import prompt, reader
from examples.demo.grading import NOT_STATED


def test_the_reader_answers_over_http_as_openai_does() -> None:
    def read(question: str, used: Sequence[str]) -> str:
        return f"{question} {used[0]}" if used == ["Now."] else NOT_STATED

    body = {
        "model": "any",
        "temperature": 0,
        "messages": [
            {"role": "system", "content": prompt.INSTRUCTION},
            {"role": "user", "content": prompt.build("When?", ["Never.", "Now."])},
        ],
    }

    with reader.running(read) as url:
        response = httpx.post(f"{url}/chat/completions", json=body, trust_env=False)

    assert response.status_code == 200
    assert response.json()["choices"][0]["message"] == {
        "role": "assistant",
        "content": "When? Now. [2]",
    }
