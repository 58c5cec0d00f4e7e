from trainer import prompts


def test_passages_come_in_their_order_before_the_question():
    prompt = prompts.build(" When? ", ["In\n1907.", "Later."])

    assert prompt.endswith("\nPassage: In 1907.\nPassage: Later.\nQuestion: When?\nAnswer:")


def test_a_longer_prefix_begins_like_the_shorter_one():
    one, two = prompts.build("q", ["a"]), prompts.build("q", ["a", "b"])

    shared = one.partition("Question: q")[0]
    assert two.startswith(shared)


def test_a_long_passage_is_cut():
    prompt = prompts.build("q", ["x" * (prompts.MAX_PASSAGE + 1)])

    assert "x" * prompts.MAX_PASSAGE in prompt
    assert "x" * (prompts.MAX_PASSAGE + 1) not in prompt


def test_the_prompt_of_one_passage_is_the_one_that_published_tables_were_made_with():
    # bench.reader_table knows answers by this hash: another prompt would ask everything again.
    assert (
        prompts.sha256(prompts.build("When?", ["Now."]))
        == "24104b329c4e805d4359b10d3000cb2ba859a0fd4728e2102723c5c41c60ec18"
    )
