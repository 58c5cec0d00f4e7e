import io

from rich.console import Console

from examples.demo.show import Show


def test_without_a_terminal_the_bar_is_a_line_at_the_end() -> None:
    text = io.StringIO()
    show = Show(Console(file=text, width=100))

    with show.bar("seed 1", total=2) as bar:
        bar.update(1, "reward .5")
        bar.update(2, "reward .6")

    assert text.getvalue().splitlines() == ["00:00  seed 1 2/2  reward .6"]


def test_a_terminal_gets_a_bar_and_lines_above_it() -> None:
    text = io.StringIO()
    show = Show(Console(file=text, width=100, force_terminal=True))

    with show.bar("seed 1", total=2) as bar:
        show.say("promoted [v2]")
        bar.update(2, "reward .6")

    assert "promoted [v2]" in text.getvalue()
    assert "2/2" in text.getvalue()
