from datetime import UTC, datetime
from typing import cast

import pytest

from contract.pointer import Live
from service.errors import NoModelYet, UnknownLine
from service.models import Model, Models, Rejection
from service.score import Scorer


def model(epoch: int, line: str = "default", version: str = "v") -> Model:
    # The slots never look inside a scorer.
    scorer = cast("Scorer", object())
    return Model(live=Live(line=line, epoch=epoch, version=version), scorer=scorer)


@pytest.fixture
def models() -> Models:
    return Models("default")


def test_the_default_line_answers_requests_that_name_none(models: Models) -> None:
    first = model(1)

    models.serve(first)

    assert models.of(None) is first
    assert models.of("default") is first


def test_the_default_line_answers_to_the_names_of_other_services_models(models: Models) -> None:
    models.serve(model(1))

    assert models.of("rerank-v3.5").live.line == "default"


def test_a_line_that_nobody_announced_is_unknown_where_names_must_be_right() -> None:
    with pytest.raises(UnknownLine):
        Models("default", refuses_unknown=True).of("legal")


@pytest.mark.parametrize("line", [None, "default", "legal"])
def test_a_line_without_a_model_has_none_yet(models: Models, line: str | None) -> None:
    models.announce("legal")

    with pytest.raises(NoModelYet):
        models.of(line)


def test_epochs_only_grow(models: Models) -> None:
    assert models.serve(model(2))
    assert not models.serve(model(1))
    assert models.epoch("default") == 2
    assert models.serve(model(3))
    assert models.epoch("default") == 3


def test_lines_do_not_touch_each_other(models: Models) -> None:
    models.serve(model(5))

    assert models.serve(model(1, line="legal"))
    assert (models.epoch("default"), models.epoch("legal"), models.epoch("none")) == (5, 1, 0)


def test_a_rejection_is_forgotten_when_a_later_epoch_serves(models: Models) -> None:
    rejection = Rejection(
        live=model(2).live, reason="a golden pair", at=datetime(2026, 5, 1, tzinfo=UTC)
    )

    models.reject(rejection)
    models.serve(model(1))
    assert models.rejections == {"default": rejection}
    models.serve(model(3))
    assert models.rejections == {}
