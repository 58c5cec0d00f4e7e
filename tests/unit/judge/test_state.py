import sqlite3
import threading
from pathlib import Path

import pytest

from judge.state import CapReached, State, reply_key


def test_what_is_set_aside_and_what_was_spent_stay_under_the_cap():
    with State.opened(None, cap=100) as state:
        first, second = state.reserve(60), state.reserve(40)
        with pytest.raises(CapReached):
            state.reserve(1)

        state.settle(first, 10)
        state.settle(second, 40)

        assert state.spent() == 50
        assert state.has_room(50)
        assert not state.has_room(51)


def test_another_day_has_money_of_its_own():
    days = ["2026-01-01"]
    with State.opened(None, cap=100, today=lambda: days[-1]) as state:
        state.reserve(100)
        days.append("2026-01-02")

        assert state.spent() == 0
        state.reserve(100)


def test_a_call_is_paid_out_of_the_day_that_it_began_on():
    days = ["2026-01-01"]
    with State.opened(None, cap=100, today=lambda: days[-1]) as state:
        begun = state.reserve(100)
        days.append("2026-01-02")
        state.settle(begun, 10)

        assert state.spent() == 0
        days.append("2026-01-01")
        assert state.spent() == 10


def test_a_restart_forgets_neither_money_nor_replies(tmp_path: Path):
    path = tmp_path / "judge.sqlite"
    with State.opened(path, cap=100) as state:
        state.reserve(70)
        state.keep(b"key", "reply")

    with State.opened(path, cap=100) as state:
        assert state.spent() == 70
        assert state.reply(b"key") == "reply"
        assert state.reply(b"another") is None


def test_what_is_older_than_a_month_is_forgotten_also_by_a_judge_that_never_stops():
    days = ["2026-01-01"]
    with State.opened(None, today=lambda: days[-1]) as state:
        state.keep(b"key", "reply")
        days.append("2026-01-31")
        assert state.reply(b"key") == "reply"
        days.append("2026-02-01")
        assert state.reply(b"key") is None


def test_nobody_else_may_read_what_users_wrote(tmp_path: Path):
    path = tmp_path / "judge.sqlite"
    with State.opened(path) as state:
        state.keep(b"key", "reply")
        modes = {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}

    assert modes == {0o600}


def test_sixteen_judges_of_one_machine_spend_the_cap_and_no_more(tmp_path: Path):
    path = tmp_path / "judge.sqlite"
    with State.opened(path):
        pass
    refused = []

    def work() -> None:
        with State.opened(path, cap=1000) as state:
            for _ in range(20):
                try:
                    state.settle(state.reserve(7), 7)
                except CapReached:
                    refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # 142 sevens are 994; of 320 asked for, the other 178 are refused.
    with State.opened(path) as state:
        assert state.spent() == 994
    assert len(refused) == 178


def test_a_key_is_of_all_its_parts_and_of_where_each_ends():
    keys = {reply_key("a", "bc"), reply_key("ab", "c"), reply_key("a", ["bc"]), reply_key("abc")}

    assert len(keys) == 4


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    path = tmp_path / "judge.sqlite"
    path.write_text("not a database, and longer than its header would be")

    with pytest.raises(sqlite3.DatabaseError), State.opened(path):
        pass
