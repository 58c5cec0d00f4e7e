import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from examples.demo import report
from examples.demo.quality import Comparison
from examples.demo.report import Played, Point


def comparison(start: float, final: float) -> Comparison:
    return Comparison(start=start, final=final, interval=(0.1, 0.3), questions=10, clusters=5)


def played(start: float = 0.5, final: float = 0.7, ceiling: float = 0.75) -> Played:
    return Played(
        seed=3,
        decisions=4,
        promoted=1,
        refused=2,
        failed_requests=0,
        reader_failures=0,
        comparison=comparison(start, final),
        groups={"seen": comparison(start, final), "unseen": comparison(start, start)},
        ceiling=ceiling,
        curve=[
            Point(decisions=0, version="v1", quality=start),
            Point(decisions=4, version="v2", quality=final),
        ],
        traffic=[0.0, 1.0, 1.0, 1.0],
        seconds={"learning": 1.25},
        verdicts=["promoted v2"],
    )


def test_the_gap_closed_is_the_share_of_the_way_to_the_ceiling() -> None:
    assert played().gap_closed == pytest.approx((0.7 - 0.5) / (0.75 - 0.5))


def test_without_a_way_to_go_no_gap_is_closed() -> None:
    assert played(ceiling=0.5).gap_closed is None


def test_the_file_lists_one_object_for_each_run(tmp_path: Path) -> None:
    path = tmp_path / "results" / "demo.json"

    report.write(path, [played(), played()], command="rankloop demo")

    first, _ = json.loads(path.read_text())
    expected = {
        "seed": 3,
        "decisions": 4,
        "promoted": 1,
        "refused": 2,
        "failed_requests": 0,
        "start": 0.5,
        "final": 0.7,
        "ceiling": 0.75,
        "gap_closed": 0.8,
        "interval": [0.1, 0.3],
        "command": "rankloop demo",
    }
    assert {name: first[name] for name in expected} == expected
    assert first["groups"]["unseen"]["final"] == 0.5


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    path = tmp_path / "demo.png"

    report.draw(path, [played()], title="Rankloop learns")

    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_run_without_an_answer_has_no_moving_mean() -> None:
    assert report._moving_mean([]) == ([], [])


def test_the_moving_mean_begins_once_its_window_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SMOOTHED", 2)

    places, means = report._moving_mean([0.0, 1.0, 1.0])

    assert list(places) == [2, 3]
    assert means == [(0.0 + 1.0) / 2, (1.0 + 1.0) / 2]


def test_the_table_shows_groups_apart() -> None:
    text = io.StringIO()

    report.show(Console(file=text, width=120), [played()])

    assert "unseen 10" in text.getvalue()
    assert "80%" in text.getvalue()
    assert "1 promoted, 2 refused, 0 failed requests" in text.getvalue()
