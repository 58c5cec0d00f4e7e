"""What the parts found, as Markdown: `tables.md`, one section for each file of results that is there."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

Found: TypeAlias = Mapping[str, Any]
"""What a part wrote."""
Table: TypeAlias = tuple[Sequence[str], Sequence[Sequence[object]]]
"""The names of its columns, and its rows."""

LATENCIES: Final = ("p50", "p90", "p99")
THROUGHPUT: Final = (
    "requests",
    "failed",
    "documents_per_s",
    "p50_ms",
    "p99_ms",
    "cost_of_a_million_documents",
)
MS: Final = tuple(f"{name}, ms" for name in LATENCIES)


def write(folder: Path) -> None:
    """`tables.md` of the results in this folder."""
    sections = [
        _section(name, json.loads(path.read_text(encoding="utf-8")), tables)
        for name, tables in TABLES.items()
        if (path := folder / f"{name}.json").exists()
    ]
    (folder / "tables.md").write_text("\n".join(sections), encoding="utf-8")


def _section(name: str, found: Found, tables: Callable[[Found], Iterator[Table]]) -> str:
    machine = found["machine"]
    head = (
        f"## {name}\n\n`{found['command']}`, commit {found['commit']}, {found['seconds']} s on "
        f"{machine['cores']} cores of {machine['cpu'] or 'an unnamed processor'}, {machine['at']}\n"
    )
    return "\n".join([head, *map(markdown, tables(found))])


def markdown(table: Table) -> str:
    """The same table in Markdown.

    >>> print(markdown((("a", "b"), [("x", 1.5)])), end="")
    | a | b |
    |---|---|
    | x | 1.5 |
    """
    columns, rows = table
    lines = [columns, *rows]
    said = ["| " + " | ".join(map(str, line)) + " |" for line in lines]
    return "\n".join([said[0], "|" + "---|" * len(columns), *said[1:], ""])


def summary(found: Found) -> Iterator[Table]:
    yield (
        (
            *("documents", "tokens", "best float32 peer", "by our float32", "95 %"),
            *("by our int8", "95 %", "best int8 peer", "by our int8", "95 %"),
        ),
        [
            (
                *(case[name] for name in ("documents", "tokens", "best_peer")),
                *_times(case["float32"]),
                *_times(case["int8"]),
                case["best_int8_peer"],
                *_times(case["int8_against_int8"]),
            )
            for case in found["against_the_best"]
        ],
    )
    names = ("documents", "tokens", "server", "precision", "transport", "min_ms", "median_ms")
    yield (
        (
            *(name.replace("_", " ") for name in names),
            *("by ours in float32", "95 %", "scores", "first ten"),
        ),
        [
            (
                *(row[name] for name in names),
                *(row["times"], _to(row["times_95"]), _scores(row), row["top10_overlap"]),
            )
            for row in found["rows"]
        ],
    )
    yield ("server", "peak RSS, MiB"), list(found["peak_rss_mib"].items())
    yield ("server", "what it is"), list(found["versions"].items())
    if found["failed"]:
        yield ("did not run", "why"), list(found["failed"].items())


def overhead(found: Found) -> Iterator[Table]:
    whole, idle = found["throughput"], found["idle"]
    yield (
        ("documents/s", "service", "bare", "share", "95 %"),
        [
            (
                found["precision"],
                *(whole[f"{name}_documents_per_s"] for name in ("service", "bare")),
                whole["share"],
                _to(whole["share_95"]),
            )
        ],
    )
    parts = idle["parts_ms"]
    yield (
        (f"{idle['documents']} documents, idle", "ms"),
        [
            ("service", idle["service_ms"]),
            ("bare", idle["bare_ms"]),
            (f"added ({_to(idle['added_ms_95'])})", idle["added_ms"]),
            *parts.items(),
        ],
    )


def quality(found: Found) -> Iterator[Table]:
    yield (
        ("int8 against float32", "value", "95 %"),
        [
            ("overlap of the first ten", found["top10_overlap"], _to(found["top10_overlap_95"])),
            ("nDCG@10, float32", found["ndcg10_float32"], ""),
            ("nDCG@10, int8", found["ndcg10_int8"], ""),
            ("change of nDCG@10", found["ndcg10_change"], _to(found["ndcg10_change_95"])),
        ],
    )


def load(found: Found) -> Iterator[Table]:
    fairness, overload = found["fairness"], found["overload"]
    yield (
        ("small requests", "n", *MS, "large p99, ms", "statuses"),
        [
            ("beside large ones", *_latencies(fairness["mixed"]), *_rest(fairness["mixed"])),
            ("alone", *_latencies(fairness["alone"]), *_rest(fairness["alone"])),
            (
                "at ten times capacity, those admitted",
                *_latencies(overload, prefix="admitted_"),
                *_rest(overload, prefix="admitted_"),
            ),
        ],
    )
    yield (
        ("", "value", "95 %"),
        [
            ("capacity, documents/s", found["capacity_documents_per_s"], ""),
            ("p99 beside large ones / alone", fairness["p99_ratio"], _to(fairness["p99_ratio_95"])),
            ("goodput at ten times capacity / capacity", overload["goodput"], ""),
        ],
    )


def swaps(found: Found) -> Iterator[Table]:
    near = f"{found['near_s']:.0f} s"
    yield (
        ("small requests", "n", *MS),
        [
            (f"within {near} of a swap", *_latencies(found["near"])),
            ("the rest of the run", *_latencies(found["far"])),
        ],
    )
    yield (
        (
            *("swaps", "requests", "failed", "mixed versions", "wrong probes"),
            *("served within, s (median, most)", "p99 ratio", "95 %"),
        ),
        [
            (
                *(found[name] for name in ("swaps", "requests", "failed", "mixed_versions")),
                f"{found['wrong_probes']} of {found['probes']}",
                f"{found['served_in_s']['median']}, {found['served_in_s']['max']}",
                found["p99_ratio"],
                _to(found["p99_ratio_95"]),
            )
        ],
    )


def memory(found: Found) -> Iterator[Table]:
    models = {name: found[name] for name in ("one_layer", "real") if name in found}
    yield (
        (
            *("model", "precision", "requests", "failed", "swaps"),
            *("MiB/100,000 requests", "95 %", "grown, MiB", "peak RSS, MiB"),
        ),
        [
            (
                name.replace("_", " "),
                *(each[key] for key in ("precision", "requests", "failed", "swaps")),
                each["rss"]["slope_mib_per_100k"],
                _to(each["rss"]["slope_95"]),
                each["rss"]["grown_mib"],
                each["peak_rss_mib"],
            )
            for name, each in models.items()
        ],
    )


def scaling(found: Found) -> Iterator[Table]:
    yield ("price of a core for an hour",), [(found["price_per_core_hour"],)]
    yield _all_of(found["rows"], "varies")
    yield _all_of(found["replicas"], "processes", "threads")


def _scores(row: Found) -> str:
    return "the same" if row["same_scores"] else f"off by up to {row['max_difference']}"


def _all_of(rows: Sequence[Found], *first: str) -> Table:
    names = (*first, "precision", "documents", "tokens", "callers", *THROUGHPUT)
    return [name.replace("_", " ") for name in names], [
        [row[name] for name in names] for row in rows
    ]


def _latencies(found: Found, *, prefix: str = "") -> list[object]:
    """A size that nobody was answered of has none."""
    return [
        found.get(f"{prefix}small_{name}", "") for name in ("n", *(f"{p}_ms" for p in LATENCIES))
    ]


def _times(found: Found | None) -> list[object]:
    """Nothing where nobody ran."""
    return ["", ""] if found is None else [found["times"], _to(found["times_95"])]


def _rest(found: Found, *, prefix: str = "") -> list[object]:
    """Large requests, and what became of all."""
    told = ", ".join(f"{count} of {status}" for status, count in found["statuses"].items())
    return [found.get(f"{prefix}large_p99_ms", ""), told]


def _to(interval: Sequence[float]) -> str:
    return " to ".join(map(str, interval))


TABLES: Final[Mapping[str, Callable[[Found], Iterator[Table]]]] = {
    "summary": summary,
    "quality": quality,
    "overhead": overhead,
    "load": load,
    "swaps": swaps,
    "memory": memory,
    "scaling": scaling,
}
