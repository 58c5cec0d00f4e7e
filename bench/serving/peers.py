"""Other rerankers on the same weights: each in an environment of its own, made on first use."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import httpx

from bench import environment
from bench.serving import results
from bench.serving.inside import PEERS
from bench.serving.peer_model import Layouts
from rankloop import leash
from rankloop.up import HOST, free_port

HERE: Final = Path(__file__).parent
FOLDER: Final = results.ROOT / ".serving" / "peers"
OFFLINE: Final[Mapping[str, str]] = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "NO_PROXY": HOST,
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "true",
}
"""They talk to nobody but us."""
START_S: Final = 180.0
ASK_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    scores: list[float]
    """Logits, in the order of the documents."""
    seconds: float
    """What a caller waits: over HTTP to the last byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Something that ranks."""

    name: str
    says: str
    """Which version of which package."""
    precision: str
    transport: Literal["http", "in process"]
    pid: int
    rank: Callable[[str, Sequence[str]], Reply]
    ids: Callable[[str, Sequence[str]], list[list[int]]]
    """Of each pair, as they enter the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InProcess:
    """A peer that is a library."""

    name: str
    kind: str
    """Of `inside`."""
    environment: str
    layout: str
    """Of `Layouts`."""
    precision: str = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Infinity:
    """A peer that is a server."""

    name: str
    engine: str
    layout: str
    precision: str = "float32"


IN_PROCESS: Final = "in-process"
OURS: Final = ""
"""The environment that we are in."""
BEST_OF: Final = (
    Infinity(name="Infinity torch", engine="torch", layout="plain"),
    Infinity(name="Infinity ONNX", engine="optimum", layout="infinity"),
    InProcess(
        name="sentence-transformers torch",
        kind="sentence-transformers-torch",
        environment=IN_PROCESS,
        layout="plain",
    ),
    InProcess(
        name="sentence-transformers ONNX",
        kind="sentence-transformers-onnx",
        environment=IN_PROCESS,
        layout="plain",
    ),
    InProcess(name="fastembed", kind="fastembed", environment=IN_PROCESS, layout="plain"),
    InProcess(name="FlashRank", kind="flashrank", environment=IN_PROCESS, layout="flashrank"),
    InProcess(name="rerankers", kind="rerankers", environment=IN_PROCESS, layout="plain"),
)
IN_INT8: Final = (
    InProcess(
        name="sentence-transformers ONNX",
        kind="sentence-transformers-int8",
        environment=IN_PROCESS,
        layout="plain",
        precision="int8",
    ),
)
BESIDE: Final = (
    *IN_INT8,
    InProcess(
        name="TEI's policy, emulated on our graph",
        kind="tei-policy",
        environment=OURS,
        layout="version",
    ),
)
"""Measured too, and not what we compare with: no float32, or no peer's own program."""


def python(name: str) -> str:
    """The interpreter of an environment.  Raises `PeerFailed` where it cannot be made."""
    if name == OURS:
        return sys.executable
    pins = [HERE / f"requirements-{name}.txt"]
    try:
        return str(environment.python(FOLDER / name, pins, resolve=True))
    except subprocess.CalledProcessError as error:
        raise PeerFailed(f"{pins[0].name} does not install here") from error


@contextmanager
def running(peer: InProcess | Infinity, layouts: Layouts) -> Iterator[Server]:
    """A peer that is ready.  Raises `PeerFailed`."""
    folder: Path = getattr(layouts, peer.layout)
    with (
        _infinity(peer, folder) if isinstance(peer, Infinity) else _in_process(peer, folder)
    ) as server:
        yield server


class PeerFailed(RuntimeError):
    """It did not start, or did not answer; the message is the end of what it printed."""


class Inside:
    """A process of `bench.serving.inside`; it ends when we close its input."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.pid = process.pid
        self._process, self._log = process, log
        self.says = self._reply()

    def ask(self, query: str, documents: Sequence[str], **more: bool) -> dict[str, Any]:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 -- a pipe
        stdin.write(json.dumps({"query": query, "documents": documents, **more}) + "\n")
        stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 -- a pipe
        line = stdout.readline()
        if not line:
            raise PeerFailed(_end_of(self._log))
        return dict(json.loads(line))


@contextmanager
def inside(kind: str, environment: str, folder: Path) -> Iterator[Inside]:
    """kind: of `inside.PEERS`."""
    assert kind in PEERS, kind  # noqa: S101 -- a table of ours
    log = _log(kind)
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [python(environment), "-m", "bench.serving.inside", kind, folder],
            cwd=results.ROOT,
            env=os.environ | OFFLINE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        ) as process,
    ):
        yield Inside(process, log)


@contextmanager
def _in_process(peer: InProcess, folder: Path) -> Iterator[Server]:
    with inside(peer.kind, peer.environment, folder) as child:

        def rank(query: str, documents: Sequence[str]) -> Reply:
            return Reply(**child.ask(query, documents))

        yield Server(
            name=peer.name,
            says=_said(child),
            precision=peer.precision,
            transport="in process",
            pid=child.pid,
            rank=rank,
            ids=lambda query, documents: child.ask(query, documents, ids=True)["ids"],
        )


@contextmanager
def _infinity(peer: Infinity, folder: Path) -> Iterator[Server]:
    port = free_port()
    command: list[str | Path] = [
        *(Path(python("infinity")).with_name("infinity_emb"), "v2", "--model-id", folder),
        *("--engine", peer.engine, "--device", "cpu", "--host", HOST, "--port", str(port)),
    ]
    log = _log(f"infinity-{peer.engine}")
    with log.open("wb") as output:
        process = leash.start(command, output=output, env=os.environ | OFFLINE)
    url = f"http://{HOST}:{port}"
    try:
        _wait(url, process, log)
        with (
            httpx.Client(timeout=ASK_S, trust_env=False) as client,
            inside("infinity", "infinity", folder) as tokens,
        ):
            yield Server(
                name=peer.name,
                says=_said(tokens),
                precision=peer.precision,
                transport="http",
                pid=process.pid,
                rank=over_http(client, f"{url}/rerank", score="relevance_score"),
                ids=lambda query, documents: tokens.ask(query, documents, ids=True)["ids"],
            )
    finally:
        process.terminate()
        process.wait()


def over_http(
    client: httpx.Client, url: str, *, score: str
) -> Callable[[str, Sequence[str]], Reply]:
    """Asks for raw scores.

    score: the result's field that holds the model's.
    """

    def rank(query: str, documents: Sequence[str]) -> Reply:
        asked = {"query": query, "documents": documents, "raw_scores": True}
        body = json.dumps(asked, ensure_ascii=False).encode()
        began_at = time.perf_counter()
        reply = client.post(url, content=body, headers={"content-type": "application/json"})
        seconds = time.perf_counter() - began_at
        if not reply.is_success:
            raise PeerFailed(f"answered {reply.status_code}: {reply.text[:200]}")
        found = {each["index"]: each[score] for each in reply.json()["results"]}
        return Reply(scores=[found[index] for index in range(len(documents))], seconds=seconds)

    return rank


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", trust_env=False).is_success:
                return
        time.sleep(0.2)
    raise PeerFailed(f"not ready within {START_S:.0f} s: {_end_of(log)}")


def _said(child: Inside) -> str:
    return f"{child.says['package']} {child.says['version']}"


def _log(name: str) -> Path:
    FOLDER.mkdir(parents=True, exist_ok=True)
    return FOLDER / f"{name}.log"


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " / ".join(lines[-3:]).replace(str(results.ROOT), ".")
