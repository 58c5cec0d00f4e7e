"""What `rankloop train` takes and refuses, before anything is trained."""

import pytest
from typer.testing import CliRunner

from trainer.train_commands import app

READER = ("--reader", "http://127.0.0.1:9/v1")


def refused(*arguments, **environment):
    said = CliRunner().invoke(app, [str(each) for each in arguments], env=environment)
    assert said.exit_code == 1, said.output
    return said.stderr


@pytest.mark.parametrize("given", [(), (*READER, "--log", "log.parquet")])
def test_it_wants_a_reader_or_a_log_and_not_both(given):
    assert "name one of --reader and --log" in refused(*given)


def test_a_log_does_not_take_the_options_of_a_reader():
    told = refused("--log", "log.parquet", "--kl", "0.2", "--at-once", "2", "--seed", "1")

    assert told == "--log does not take --at-once, --kl\n"


def test_a_reader_does_not_take_the_options_of_a_log():
    assert refused(*READER, "--newest", "9") == "--reader does not take --newest\n"


def test_a_reader_wants_a_folder_of_questions():
    assert "--reader wants --data" in refused(*READER)


def test_a_log_that_is_not_there_is_a_message_and_no_traceback(tmp_path):
    assert "nowhere" in refused("--log", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_log_of_another_kind_is_a_message_and_no_traceback(tmp_path):
    (tmp_path / "log").write_text("no log")

    assert "is not a Parquet file" in refused("--log", tmp_path / "log")


def test_a_setting_of_the_trainer_that_is_wrong_is_a_message(tmp_path):
    told = refused("--log", tmp_path / "log", RANKLOOP_TRAINER_GATE_SHARE="2")

    assert "less than 1" in told
