"""A language model behind an OpenAI-compatible API, which is asked the same thing once.

Every answer is appended to a file as it comes, so that a run that was stopped goes on where it was.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import httpx
from pydantic import BaseModel, Field, ValidationError

from rankloop.client.retries import Retries
from trainer import prompts
from trainer.replay import Unanswered

UNNAMED: Final = "default"
"""What servers of one model are asked for."""
MAX_TOKENS: Final = 20
TIMEOUT_S: Final = 300.0
"""A model on a CPU may take minutes."""
RETRIES: Final = Retries(attempts=6, longest_s=60.0)


class Api(StrEnum):
    """Which of the two endpoints is asked."""

    CHAT = "chat"
    COMPLETIONS = "completions"


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    text: str | None = None
    message: _Message = _Message()


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Llm:
    """The API.  Its client has the base URL, the key and the timeout; threads may share it."""

    client: httpx.Client
    model: str
    api: Api
    max_tokens: int = MAX_TOKENS
    retries: Retries = RETRIES

    @property
    def name(self) -> str:
        """Who answers, and how: another name gives other answers.  Without a name of its own, it is its URL."""
        who = str(self.client.base_url) if self.model == UNNAMED else self.model
        return f"{who}/{self.api}/{self.max_tokens}"

    def complete(self, prompt: str) -> str:
        """One line, at temperature 0; sent again while that may help.  Raises `Unanswered`."""
        attempt = 1
        while True:
            outcome = self._outcome(prompt)
            if isinstance(outcome, httpx.Response) and outcome.is_success:
                return _first_line(outcome)
            pause_s = self.retries.pause_s(attempt, outcome)
            if pause_s is None:
                raise Unanswered(_told(outcome))
            time.sleep(pause_s)
            attempt += 1

    def _outcome(self, prompt: str) -> httpx.Response | httpx.RequestError:
        path, asked = self._asked(prompt)
        body = {"model": self.model, "max_tokens": self.max_tokens, "temperature": 0, **asked}
        try:
            return self.client.post(path, json=body)
        except httpx.RequestError as failure:
            return failure

    def _asked(self, prompt: str) -> tuple[str, dict[str, Any]]:
        if self.api is Api.CHAT:
            return "chat/completions", {"messages": [{"role": "user", "content": prompt}]}
        return "completions", {"prompt": prompt, "stop": ["\n"]}


class Answers:
    """A reader's answers by the hash of the prompt, in a file that only grows."""

    def __init__(self, path: Path, *, reader: str) -> None:
        """reader: its name; what others have answered is left alone."""
        self._path = path
        self._reader = reader
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()
        if path.exists():
            self._recall(path.read_text(encoding="utf-8"))

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, prompt: str) -> bool:
        return prompts.sha256(prompt) in self._known

    def __getitem__(self, prompt: str) -> str:
        return self._known[prompts.sha256(prompt)]

    def add(self, prompt: str, answer: str) -> None:
        line = {"prompt": prompts.sha256(prompt), "reader": self._reader, "answer": answer}
        with self._lock:
            self._known[line["prompt"]] = answer
            self._append(json.dumps(line) + "\n")

    def _append(self, text: str) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)

    def _recall(self, text: str) -> None:
        for line in text.splitlines():
            try:
                found = json.loads(line)
            except ValueError:  # half a line of a run that was killed
                continue
            if found.get("reader", self._reader) == self._reader:
                self._known[found["prompt"]] = found["answer"]
        if text and not text.endswith("\n"):
            self._append("\n")


@dataclass(slots=True, kw_only=True)
class Reader:
    """An LLM with a memory, and a limit on what it may cost."""

    llm: Llm
    answers: Answers
    at_once: int = 1
    """Calls that wait for an answer at the same time."""
    max_calls: int | None = None
    """Calls of this run; what is remembered costs none."""
    calls: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def answer(self, prompt: str) -> str:
        """From memory, else from the LLM.  Raises `Unanswered`."""
        if prompt not in self.answers:
            self._pay()
            self.answers.add(prompt, self.llm.complete(prompt))
        return self.answers[prompt]

    def ask_all(
        self, groups: Iterable[Sequence[str]], *, on_answer: Callable[[], object] = lambda: None
    ) -> None:
        """Remembers an answer to each.  Raises `Unanswered` at the first that gets none.

        groups: prompts that begin alike, asked one after another: servers keep what they have just read.
        """

        def ask(group: Sequence[str]) -> None:
            for prompt in group:
                self.answer(prompt)
                on_answer()

        with ThreadPoolExecutor(self.at_once) as pool:
            asked = [pool.submit(ask, group) for group in self.missing(groups)]
            try:
                for done in as_completed(asked):
                    done.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def missing(self, groups: Iterable[Sequence[str]]) -> list[list[str]]:
        """What is not remembered, each once."""
        seen: set[str] = set()
        found = []
        for group in groups:
            new = [each for each in dict.fromkeys(group) if each not in seen]
            seen.update(new)
            found.append([each for each in new if each not in self.answers])
        return [group for group in found if group]

    def _pay(self) -> None:
        with self._lock:
            if self.max_calls is not None and self.calls >= self.max_calls:
                raise Unanswered(f"the {self.max_calls} calls that were allowed are spent")
            self.calls += 1


def client(url: str, *, key: str | None = None, timeout_s: float = TIMEOUT_S) -> httpx.Client:
    """For an API whose base URL ends in /v1, say."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=f"{url.rstrip('/')}/", headers=headers, timeout=timeout_s)


def _first_line(response: httpx.Response) -> str:
    try:
        (choice, *_) = _Completion.model_validate_json(response.content).choices
    except ValidationError as malformed:
        raise Unanswered("the reply is no completion") from malformed
    said = choice.text if choice.text is not None else (choice.message.content or "").lstrip()
    return said.partition("\n")[0].strip()


def _told(outcome: httpx.Response | httpx.RequestError) -> str:
    if isinstance(outcome, httpx.Response):
        return f"status {outcome.status_code}: {outcome.text[:200]}"
    return f"{type(outcome).__name__}: {outcome}"
