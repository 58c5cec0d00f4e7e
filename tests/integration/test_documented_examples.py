import asyncio
import re
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests import models, serving
from tests.sockets import on_a_socket

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("document", "count"), [("README.md", 4), ("docs/api.md", 21)])
async def test_every_documented_example_runs_from_top_to_bottom(
    document: str, count: int, *, tmp_path: Path, engine: Engine, database_url: str, redis_url: str
):
    settings = serving.settings(
        tmp_path,
        database_url=database_url,
        redis_url=redis_url,
        service_epsilon=1e-9,  # the examples name documents that the best order shows
    )
    examples = re.findall(r"```bash\n(.*?)```", (ROOT / document).read_text(), flags=re.DOTALL)
    async with serving.running(settings, engine) as service:
        for seed in (0, 1):
            models.make(tmp_path / f"model{seed}", seed=seed)
            live = service.publish(tmp_path / f"model{seed}")
        await service.serves(live)
        async with on_a_socket(service.app) as url:
            script = "\n".join(examples).replace("http://127.0.0.1:8000", url)
            code, said = await run(script, tmp_path)

    assert len(examples) == count
    assert code == 0, said


async def run(script: str, folder: Path) -> tuple[int | None, str]:
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-eu", "-o", "pipefail", "-c", script),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await shell.communicate()
    return shell.returncode, said.decode()
