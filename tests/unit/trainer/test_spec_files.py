import pytest

from contract.records import Source
from contract.rewards import RewardSpec
from trainer import spec_files
from trainer.settings import TrainerSettings
from trainer.spec_files import SpecRefused


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "spec.yaml"
        path.write_text(text)
        return path

    return write


def test_yaml_and_json_say_the_same(written):
    yaml = spec_files.read(written("id: thumbs\nnames: [thumb]\nsources: [END_USER]\nwait_s: 60\n"))
    json = spec_files.read(
        written('{"id": "thumbs", "names": ["thumb"], "sources": ["END_USER"], "wait_s": 60}')
    )

    assert yaml == json
    assert (yaml.id, yaml.names, yaml.wait_s) == ("thumbs", ("thumb",), 60.0)
    assert yaml.sources == (Source.END_USER,)


def test_what_a_file_leaves_out_is_built_in(written):
    assert spec_files.read(written("combine: mean")) == RewardSpec(combine="mean")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight: 2", "weight: Extra inputs are not permitted"),
        ("version: 3", "version: Extra inputs are not permitted"),
        ("combine: median", "combine: Input should be 'latest', 'mean', 'min' or 'max'"),
        ("names: []", "names: Tuple should have at least 1 item"),
        ("names: [quality, quality]", "names names something twice"),
        ("names: [faithfulness]", "['faithfulness'] cannot be a reward and its multiplier"),
        ("sources: [GOD]", "sources.0: Input should be"),
        ("wait_s: .inf", "wait_s: Input should be a finite number"),
        ("{wait_s: 60, reopen_s: 60}", "reopen_s must be above wait_s"),
        ("- quality", "holds no names with values"),
        ("names: [", "neither YAML nor JSON"),
    ],
)
def test_a_refusal_says_what_is_wrong(written, text, message):
    path = written(text)

    with pytest.raises(SpecRefused) as refusal:
        spec_files.read(path)

    assert str(refusal.value).startswith(f"{path}: ")
    assert message in str(refusal.value)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(SpecRefused, match=r"nowhere\.yaml: No such file"):
        spec_files.read(tmp_path / "nowhere.yaml")


@pytest.fixture
def settings(tmp_path):
    def make(**own):
        return TrainerSettings(
            database_url="postgresql+psycopg://nowhere",
            redis_url="redis://nowhere",
            artifacts_url="nowhere",
            secret="a secret that is long enough",
            cache_dir=tmp_path,
            **own,
        )

    return make


def test_the_trainer_takes_its_spec_from_the_file_and_reads_it_once(settings, written):
    path = written("{names: [thumb], wait_s: 5}")

    chosen = settings(trainer_reward_spec=path, trainer_reward_wait_s=70.0)
    path.write_text("{names: [other]}")

    assert chosen.reward_spec == RewardSpec(names=("thumb",), wait_s=5.0)


def test_without_a_file_the_spec_is_the_built_in_one(settings):
    assert settings(trainer_reward_wait_s=70.0).reward_spec == RewardSpec(wait_s=70.0)


def test_a_trainer_does_not_start_with_a_spec_that_is_none(settings, written):
    with pytest.raises(ValueError, match="combine: Input should be"):
        settings(trainer_reward_spec=written("combine: median"))
