"""`rankloop up` with everything real, over a tiny model."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests import tiny

WORDS = ["how", "long", "is", "the", "warranty", "one", "two", "years", "days", "ask", "us"]
LIMIT_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """A running `rankloop up`."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    def end(self, number: signal.Signals) -> list[psutil.Process]:
        """Signals the command and waits for it; returns what it had started."""
        started = self.children()
        self.process.send_signal(number)
        self.process.wait(LIMIT_S)
        return started

    def children(self) -> list[psutil.Process]:
        """Everything that it has started, whoever of them did."""
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def child(self, module: str) -> psutil.Process:
        (found,) = (child for child in self.children() if is_module(child, module))
        return found


def is_module(process: psutil.Process, module: str) -> bool:
    try:
        return process.cmdline()[-2:] == ["-m", module]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def all_gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=0.05)
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.cross_encoder(tmp_path_factory.mktemp("base"), WORDS)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    # Not pytest's own folder: a socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="rl") as folder:
        yield Path(folder) / "home"


@pytest.fixture
def started(home: Path, base: Path) -> Iterator[Callable[[], Up]]:
    """Starts the loop of this module's home, and sees to it that none survives the test."""
    with contextlib.ExitStack() as stack:

        def start() -> Up:
            port = free_port()
            output = home.parent / f"up-{port}.log"
            with output.open("wb") as said:
                process = subprocess.Popen(
                    command(home, port=port, base=base),
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "OMP_NUM_THREADS": "1", "RANKLOOP_TRAINER_THREADS": "1"},
                )
            stack.callback(process.wait)
            stack.callback(process.kill)
            client = stack.enter_context(
                httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
            )
            up = Up(process=process, client=client, output=output)
            until(lambda: "Ctrl-C stops everything" in up.said() or process.poll() is not None)
            assert process.poll() is None, up.said()
            return up

        yield start


def command(home: Path, *, port: int, base: Path | str = "minilm") -> list[str | Path]:
    return [
        *(sys.executable, "-m", "rankloop", "up"),
        *("--home", home, "--port", str(port), "--base", base),
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def a_lap(client: httpx.Client) -> str:
    """Reranks, answers and says what it was worth; the decision's id."""
    ranked = post(
        client,
        "/v1/rerank",
        {
            "query": "how long is the warranty",
            "documents": ["one years", "two years", "ask us"],
            "top_n": 2,
        },
    )
    decision_id: str = ranked["id"]
    post(client, f"/v1/decisions/{decision_id}/answer", {"used_k": 2, "text": "two years"})
    post(
        client,
        "/v1/feedback",
        {
            "decision_id": decision_id,
            "name": "correct",
            "value": True,
            "source": {"type": "END_USER", "id": "somebody"},
        },
    )
    return decision_id


def post(client: httpx.Client, path: str, body: object) -> Any:
    response = client.post(path, json=body)
    assert response.is_success, response.text
    return response.json()


def remembered(client: httpx.Client, decision_id: str) -> Any:
    """The decision, once its writing has caught up with its answering."""
    path = f"/v1/decisions/{decision_id}"
    until(lambda: client.get(path).is_success)
    return client.get(path).json()


def test_a_lap_survives_ctrl_c_and_is_there_after_the_next_start(
    started: Callable[[], Up],
) -> None:
    first = started()
    decision_id = a_lap(first.client)
    before = remembered(first.client, decision_id)
    processes = first.end(signal.SIGINT)

    second = started()

    assert first.process.returncode == 0
    assert all_gone(processes)
    assert first.said().splitlines()[-1] == "stopped"
    after = remembered(second.client, decision_id)
    assert after["answer"]["text"] == "two years"
    assert [said["value"] for said in after["feedback"]] == [True]
    assert (after["version"], after["epoch"]) == (before["version"], before["epoch"])
    live = second.client.get("/info").json()["serving"]
    assert [(one["version"], one["epoch"]) for one in live] == [(after["version"], 1)]


def kill_until_it_is_back(up: Up, module: str) -> None:
    killed = up.child(module)
    killed.kill()
    until(lambda: f"the {module} was ended by SIGKILL; starting it again" in up.said())
    until(lambda: any(is_module(child, module) for child in up.children()))
    assert up.child(module).pid != killed.pid


def test_what_is_killed_comes_back_and_nothing_outlives_a_killed_command(
    started: Callable[[], Up],
) -> None:
    up = started()
    for module in ("service", "trainer", "judge"):
        kill_until_it_is_back(up, module)
    until(lambda: is_ready(up.client))
    a_lap(up.client)

    processes = up.end(signal.SIGKILL)

    assert len(processes) >= 5
    until(lambda: all_gone(processes))


def test_a_home_has_one_loop_and_a_port_has_one_service(
    started: Callable[[], Up], home: Path, tmp_path: Path
) -> None:
    up = started()
    port = up.client.base_url.port
    assert port is not None

    same_home = subprocess.run(
        command(home, port=free_port()), capture_output=True, text=True, check=False
    )
    same_port = subprocess.run(
        command(tmp_path, port=port), capture_output=True, text=True, check=False
    )

    assert (same_home.returncode, same_port.returncode) == (1, 1)
    assert f"another loop runs on {home.resolve()}" in same_home.stderr
    assert f"port {port} cannot be had" in same_port.stderr


def rankloop(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rankloop", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environ,
    )


def test_keys_are_made_beside_the_loop_and_the_command_line_sends_its_own(
    started: Callable[[], Up], home: Path
) -> None:
    url = str(started().client.base_url)
    made = rankloop("keys", "--home", home, "create", "--scope", "operate")
    key, key_id = made.stdout.strip(), made.stdout.split("_")[1]

    shown = rankloop("status", "--url", url, RANKLOOP_CLI_API_KEY=key)
    rankloop("keys", "revoke", key_id, "--home", home)
    time.sleep(3)
    refused = rankloop("status", "--url", url, RANKLOOP_CLI_API_KEY=key)

    assert shown.stdout.startswith("line default serves")
    assert refused.returncode == 1
    assert refused.stderr.startswith("401: ")
