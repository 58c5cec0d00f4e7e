from examples.demo.prompt import build, parse


def test_a_prompt_is_read_back_as_it_was_written() -> None:
    used = ["Title\nA body.", "Another body, with\n\na blank line."]

    assert parse(build("When was it?", used)) == ("When was it?", used)


def test_a_prompt_without_passages_has_none() -> None:
    assert parse(build("When?", [])) == ("When?", [])


def test_passages_are_numbered_from_one() -> None:
    assert build("When?", ["Now."]) == "[1] Now.\n\nQuestion: When?"
