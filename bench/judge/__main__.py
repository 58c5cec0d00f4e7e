"""`python -m bench.judge --data DIR` writes `bench/results/judge.json`.

--data DIR          a folder with `squad` (questions and passages) and `reader` (a real reader's answers)
--url URL --model NAME
                    the judge's LLM, behind an OpenAI-compatible API; without, a small one that is started here
--gguf FILE         weights for the one that is started here, instead of SmolLM2-135M-Instruct
--limit N           so many answers and attacks at most
--work DIR          what the LLM replied is kept there, so that a run that was stopped asks for the rest alone

Three parts: answers of a real reader through a real loop, beside their gold F1; attacks on the judge, with its defence
and without; honest passages that suspicion takes for attacks. Prices are made up, so that cost and cap have a size.
"""

import argparse
import asyncio
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from bench.judge import answers, attacks, false_alarms, local_llm, loop, report, scores
from bench.judge.local_llm import Endpoint
from judge.rubric import Rubric
from judge.settings import JudgeSettings

logger = logging.getLogger("bench.judge")

RESULTS: Final = Path(__file__).parents[1] / "results" / "judge.json"
SETTINGS: Final = {
    "rubric": "answer_quality",
    "concurrency": local_llm.AT_ONCE,
    "llm_max_tokens": 128,
    "llm_timeout_s": 120,
    "llm_prompt_price": 0.15,
    "llm_completion_price": 0.6,
    "daily_cost": 1,
    "probe_share": 0,
    "poll_s": 0.5,
    "metrics_port": 0,
}
"""Of the judge, where they are not its defaults."""


def main() -> None:
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for loud in ("bm25s", "httpx", "httpx2"):
        logging.getLogger(loud).setLevel(logging.WARNING)
    options.work.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with _endpoint(options) as endpoint:
        settings = JudgeSettings.model_validate(
            SETTINGS
            | {"llm_url": endpoint.url, "llm_model": endpoint.model}
            | {"state": options.work / "state.sqlite"}
        )
        result = measured(options, settings)
    result |= {
        "model": endpoint.model,
        "settings": SETTINGS,
        "seconds": round(time.monotonic() - start),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "command": _command(sys.argv[1:]),
    }
    said = json.dumps(result, indent=1)
    options.out.write_text(said + "\n", encoding="utf-8")
    print(said)  # noqa: T201 -- what was asked for


def measured(options: argparse.Namespace, settings: JudgeSettings) -> dict[str, Any]:
    """All three parts."""
    rubric = Rubric.named(settings.rubric)
    real = answers.sample(options.data, options.limit or answers.ANSWERS)
    played = loop.played(real, settings, options.work / "judge.log")
    tried = attacks.read()[: options.limit]
    number = count(1)
    trials = asyncio.run(
        attacks.tried(
            tried,
            rubric=rubric,
            settings=settings,
            told=lambda: logger.info("%d of %d attacks", next(number), len(tried)),
        )
    )
    return report.told(played, scores.summary(trials)) | {
        "n": len(real),
        "good": sum(answer.f1 >= answers.GOOD_FROM for answer in real),
        "cap": SETTINGS["daily_cost"],
        "rubric": f"{rubric.id}@{rubric.version}",
        "false_alarms": false_alarms.counted(options.data),
    }


@contextmanager
def _endpoint(options: argparse.Namespace) -> Iterator[Endpoint]:
    if options.url is not None:
        yield Endpoint(url=options.url, model=options.model)
        return
    with local_llm.serving(options.gguf) as endpoint:
        yield endpoint


def _command(arguments: Sequence[str]) -> str:
    """Without folders: they say nothing of what was measured."""
    told = (each if "://" in each else Path(each).name for each in arguments)
    return f'make bench-judge ARGS="{" ".join(told)}"'


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--url")
    parser.add_argument("--model", default="default")
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--work", type=Path, default=Path(".judge"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
