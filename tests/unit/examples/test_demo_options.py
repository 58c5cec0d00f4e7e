import json
from pathlib import Path

import pytest

from examples.demo.options import (
    DATA_DECISIONS,
    DECISIONS,
    JUDGED,
    OWN_RESULTS,
    RESULTS,
    REWARD_WAIT,
    SETTINGS,
    Options,
    settings,
)
from examples.demo.traffic import Noise
from judge.settings import JudgeSettings
from service.settings import ServiceSettings
from trainer.settings import TrainerSettings


def test_several_seeds_are_several_runs() -> None:
    options = Options.of(["--seed", "1", "2", "3", "--headless"])

    assert options.seeds == (1, 2, 3)
    assert options.headless


def test_the_results_of_a_folder_carry_its_name() -> None:
    assert Options.of([]).name == "demo"
    assert Options.of(["--data", "sets/squad/"]).name == "demo-squad"


def test_a_run_with_a_judge_is_a_result_of_its_own_and_plays_the_handbook(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert Options.of(["--judge"]).name == "demo-judge"
    with pytest.raises(SystemExit):
        Options.of(["--judge", "--data", "sets/squad"])
    assert "the handbook's answers alone" in capsys.readouterr().err


def test_the_sidecars_settings_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    told = settings({}, judged=True)
    for name in JUDGED:
        monkeypatch.setenv(name, told[name])

    understood = JudgeSettings()

    assert understood.sampling.floor == 1 - Noise().missing
    assert understood.poll_s == 0.2


def test_a_folder_with_its_longer_passages_is_asked_less() -> None:
    assert Options.of([]).decisions == DECISIONS
    assert Options.of(["--data", "sets/squad"]).decisions == DATA_DECISIONS
    assert Options.of(["--data", "sets/squad", "--decisions", "7"]).decisions == 7


def test_a_run_to_look_at_does_not_overwrite_the_published_results() -> None:
    assert Options.of([]).results == OWN_RESULTS
    assert Options.of(["--headless"]).results == RESULTS
    assert Options.of(["--headless", "--results", "here"]).results == Path("here")


def test_no_decisions_at_all_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Options.of(["--decisions", "0"])
    assert "must be 1 or more" in capsys.readouterr().err


def test_every_setting_of_the_demo_exists_and_differs_from_the_default() -> None:
    fields = ServiceSettings.model_fields | TrainerSettings.model_fields

    # How threads wait for each other is read by torch itself.
    ours = {name: value for name, value in SETTINGS.items() if name != "OMP_WAIT_POLICY"}
    assert len(ours) == len(SETTINGS) - 1
    for name, value in ours.items():
        default = fields[name.removeprefix("RANKLOOP_").lower()].default
        assert value != json.dumps(default), name


def test_the_environment_overrules_the_demos_settings() -> None:
    chosen = settings({REWARD_WAIT: "3", "HOME": "elsewhere"})

    assert chosen == {**SETTINGS, REWARD_WAIT: "3"}
