from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import pytest

from contract import arms
from contract.pointer import Live
from contract.records import Arm, NotLearnable
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
        live=model(2).live,
        version="v",
        reason="a golden pair",
        at=datetime(2026, 5, 1, tzinfo=UTC),
    )

    models.reject(rejection)
    models.serve(model(1))
    assert models.rejections == {"default": rejection}
    models.serve(model(3))
    assert models.rejections == {}


def with_canary(epoch: int) -> tuple[Model, Model]:
    """A champion, and the canary of a tenth that it has once it is loaded."""
    champion = model(epoch)
    live = replace(champion.live, canary_version="canary", canary_share=0.1)
    alone = replace(champion, live=live)
    return alone, replace(alone, scorer=cast("Scorer", object()), arm=Arm.CANARY)


def test_a_refused_canary_is_remembered_until_it_serves(models: Models) -> None:
    alone, canary = with_canary(2)
    rejection = Rejection(
        live=alone.live,
        version="canary",
        reason="a golden pair",
        at=datetime(2026, 5, 1, tzinfo=UTC),
    )

    models.reject(rejection)
    models.serve(alone)
    remembered, whole_before = dict(models.rejections), models.is_whole("default")
    models.serve(replace(alone, canary=canary))

    assert (remembered, whole_before) == ({"default": rejection}, False)
    assert (models.rejections, models.is_whole("default")) == ({}, True)
    assert [each.version for each in models.loaded] == ["v", "canary"]


def test_a_unit_is_answered_by_the_canary_only_where_there_is_one() -> None:
    alone, canary = with_canary(1)
    both = replace(alone, canary=canary)
    units = [bytes([number]) for number in range(256)]

    assert {alone.of(unit) for unit in units} == {alone}
    assert {both.of(unit).arm for unit in units} == {Arm.CHAMPION, Arm.CANARY}
    assert all((both.of(unit) is canary) == (arms.place(unit) < 0.1) for unit in units)


def test_a_unit_that_is_held_back_is_answered_by_the_base_and_teaches_nothing() -> None:
    alone, canary = with_canary(1)
    alone = replace(alone, live=replace(alone.live, hold_back_version="base", hold_back_share=0.2))
    whole = replace(alone, canary=canary).with_beside(Arm.HOLD_BACK, cast("Scorer", object()))
    units = [bytes([number]) for number in range(256)]

    assert alone.missing == {Arm.CANARY: "canary", Arm.HOLD_BACK: "base"}
    assert (whole.missing, whole.hold_back_share, alone.hold_back_share) == ({}, 0.2, 0.0)
    assert [each.version for each in whole.beside.values()] == ["canary", "base"]
    assert {alone.of(unit) for unit in units} == {alone}
    for unit in units:
        held_back = arms.place(unit) >= 1 - 0.2
        assert (whole.of(unit) is whole.hold_back) == held_back
        assert (whole.of(unit).not_learnable is NotLearnable.HOLD_BACK) == held_back
        assert (whole.of(unit) is canary) == (arms.place(unit) < 0.1)


def test_where_the_base_is_the_champion_nobody_is_held_back() -> None:
    alone = model(1, version="base")
    alone = replace(alone, live=replace(alone.live, hold_back_version="base", hold_back_share=0.2))
    units = [bytes([number]) for number in range(256)]

    assert alone.missing == {}
    assert {alone.of(unit) for unit in units} == {alone}
