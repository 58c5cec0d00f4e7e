"""The lines of `docs/api.md` for these packages, as far as they are installed here."""

import ast
import re
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.compat.client import Target

NAME: Final = "docs/api.md"
VERSION: Final = f"beside cohere {version('cohere')}"
ROOT: Final = Path(__file__).parents[3]


def case_the_documented_lines_run(target: Target) -> None:
    text = (ROOT / NAME).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    here = [block for block in blocks if _is_for_here(block)]
    if not here:
        raise LookupError("none is for the packages that are installed here")
    for block in here:
        lines = block.replace("http://127.0.0.1:8000", target.url).replace("rl_...", target.key)
        exec(lines, {"query": target.query, "texts": target.documents})  # noqa: S102 -- our own docs


def _is_for_here(block: str) -> bool:
    return all(_is_installed(name) for name in _imported(block))


def _imported(block: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(block)))
    plain = {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def _is_installed(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True
