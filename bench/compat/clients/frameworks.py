"""Our rerankers for LangChain, LlamaIndex and Haystack, and the example apps, as `tests/compat` tries them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.compat.client import Target

NAME: Final = "rankloop.integrations"
VERSION: Final = "of this tree"
ROOT: Final = Path(__file__).parents[3]


def case_an_app_of_langchain_reports_by_itself(target: Target) -> None:
    _passes("test_langchain.py", target)


def case_an_app_of_llama_index_reports_by_itself(target: Target) -> None:
    _passes("test_llamaindex.py", target)


def case_a_pipeline_of_haystack_reports_by_itself(target: Target) -> None:
    _passes("test_haystack.py", target)


def case_the_example_apps_run_and_their_answers_arrive(target: Target) -> None:
    _passes("test_example_apps.py", target)


def case_the_documented_lines_run(target: Target) -> None:
    _passes("test_documented_examples.py", target)


def _passes(file: str, target: Target) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-c", "tests/compat/pytest.ini"]
    subprocess.run(
        [*command, f"tests/compat/{file}"],
        cwd=ROOT,
        env=os.environ | {"RANKLOOP_URL": target.open_url},
        check=True,
    )
