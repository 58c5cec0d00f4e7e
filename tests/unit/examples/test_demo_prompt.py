from examples.demo.prompt import build, cite, cited, parse


def test_a_prompt_is_read_back_as_it_was_written() -> None:
    used = ["Title\nA body.", "Another body, with\n\na blank line."]

    assert parse(build("When was it?", used)) == ("When was it?", used)


def test_a_prompt_without_passages_has_none() -> None:
    assert parse(build("When?", [])) == ("When?", [])


def test_passages_are_numbered_from_one() -> None:
    assert build("When?", ["Now."]) == "[1] Now.\n\nQuestion: When?"


def test_an_answer_is_read_without_its_citation() -> None:
    assert cited(cite("14 days", 3), used=3) == ("14 days", [3])


def test_citations_of_passages_that_do_not_exist_are_dropped_and_repeated_ones_count_once() -> None:
    assert cited("Yes [2], [0] and [2][4].", used=3) == ("Yes, and.", [2])


def test_an_answer_without_a_citation_cites_nothing() -> None:
    assert cited("not stated", used=3) == ("not stated", [])
