from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Device, LogText, ServiceSettings

REQUIRED = {
    "RANKLOOP_DATABASE_URL": "postgresql+psycopg://localhost/rankloop",
    "RANKLOOP_REDIS_URL": "redis://localhost",
    "RANKLOOP_ARTIFACTS_URL": "s3://models",
    "RANKLOOP_SECRET": "sixteen letters!",
    "RANKLOOP_CACHE_DIR": "/var/cache/rankloop",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def read() -> ServiceSettings:
    # The environment is the argument.
    return ServiceSettings()  # type: ignore[call-arg, unused-ignore]


def test_they_come_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RANKLOOP_SERVICE_EPSILON", "0.25")
    environment.setenv("RANKLOOP_SERVICE_DEVICE", "cpu")
    environment.setenv("RANKLOOP_SERVICE_LOG_TEXT", "hash")

    settings = read()

    assert settings.service_epsilon == 0.25
    assert settings.service_device is Device.CPU
    assert settings.service_log_text is LogText.HASH
    assert settings.cache_dir == Path("/var/cache/rankloop")


def test_an_empty_variable_is_as_good_as_none(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RANKLOOP_SERVICE_MAX_FALL", "")

    assert read().service_max_fall is None


def test_a_misspelt_name_is_refused_by_name(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RANKLOOP_SERVICE_EPSILLON", "0.25")

    with pytest.raises(ValidationError, match="RANKLOOP_SERVICE_EPSILLON"):
        read()


def test_the_names_of_other_processes_are_none_of_its_business(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("RANKLOOP_TRAINER_SEED", "1")

    assert read().service_epsilon == 0.1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RANKLOOP_SERVICE_EPSILON", "1.1"),
        ("RANKLOOP_SERVICE_EPSILON", "nan"),
        ("RANKLOOP_SERVICE_DEVICE", "tpu"),
        ("RANKLOOP_SERVICE_MAX_DOCUMENTS", "10001"),
        ("RANKLOOP_SECRET", "too short"),
    ],
)
def test_what_makes_no_sense_is_refused(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)

    with pytest.raises(ValidationError):
        read()


def test_the_secret_is_not_printed() -> None:
    assert "sixteen" not in repr(read())


@pytest.mark.parametrize(
    ("host", "required"),
    [
        ("127.0.0.1", False),
        ("127.1.2.3", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),  # noqa: S104 - the point of the test
        ("::", True),
        ("10.0.0.7", True),
        ("rankloop.internal", True),
    ],
)
def test_where_others_can_reach_it_keys_are_required(
    environment: pytest.MonkeyPatch, host: str, *, required: bool
) -> None:
    environment.setenv("RANKLOOP_SERVICE_HOST", host)

    assert read().keys_required is required


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.7"])
def test_whether_keys_are_required_may_be_said(
    environment: pytest.MonkeyPatch, host: str, *, required: bool
) -> None:
    environment.setenv("RANKLOOP_SERVICE_HOST", host)
    environment.setenv("RANKLOOP_SERVICE_REQUIRE_KEYS", str(required))

    assert read().keys_required is required
