"""A canary advances, is promoted, or is rolled back by what its users said: the real worker over planted traffic."""

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import pytest
import redis
from sqlalchemy import insert, select, update

from contract import ids, publication, quarantine
from contract.pointer import Keys, Live
from contract.publication import Action
from contract.store import Store
from contract.tables import evaluations, failures, model_versions, promotions, training_runs
from tests import logbook, models, workbench
from trainer import publish, runs
from trainer.candidates import Workshop
from trainer.runs import Status

UNITS = 60


@pytest.fixture
def settings(database_url, redis_url, tmp_path):
    return workbench.settings(
        database_url,
        redis_url,
        tmp_path,
        trainer_canary=True,
        trainer_canary_look_s=0.0,
        trainer_round_min_rewards=100_000,
    )


@pytest.fixture
def base(settings, tmp_path):
    return workbench.start(settings, tmp_path / "base")


@pytest.fixture
def canary(base, engine, tmp_path):
    """Begins at half the sessions."""
    models.make(tmp_path / "canary", seed=1)
    return begin(engine, models.manifest(tmp_path / "canary"), share=0.5)


def begin(engine, manifest, *, share):
    live = models.promote(engine, manifest.version, manifest=manifest, share=share)
    with engine.begin() as connection:
        connection.execute(publication.release_lease("default", holder="test"))
    return live


def plant(engine, live, *, canary, champion, units=(UNITS, UNITS), judged=1.0, **columns):
    """Units of both arms at this epoch, and what was said of them."""
    for arm, value, count in zip(("canary", "champion"), (canary, champion), units, strict=True):
        ask(engine, live, arm=arm, value=value, count=count, judged=judged, **columns)


def ask(engine, live, *, arm, value, count, judged=1.0, **columns):
    """Units of one arm; of each, two requests of one session."""
    versions = {
        "champion": live.version,
        "canary": live.canary_version,
        "hold_back": live.hold_back_version,
    }
    rng = np.random.default_rng(0)
    with engine.begin() as connection:
        for number in range(count):
            session = secrets.token_bytes(8)
            for said in (value, value) if number < judged * count else (None, None):
                decision_id = logbook.decision(
                    connection,
                    query="red",
                    documents=["old", "new"],
                    logits=[1.0, 0.0],
                    rng=rng,
                    ago_s=60.0,
                    **{
                        "arm": arm,
                        "version": versions[arm],
                        "epoch": live.epoch,
                        "session_hash": session,
                        "latency_ms": 10.0,
                    }
                    | columns,
                )
                if said is not None:
                    logbook.said(connection, decision_id, said)


def fail(engine, live, *, arm="canary", count=UNITS, error="ValueError"):
    rows = [
        {
            "decision_id": ids.mint("default", secret=b"x", now=datetime.now(UTC)),
            "epoch": live.epoch,
            "version": live.canary_version,
            "arm": arm,
            "session_hash": secrets.token_bytes(8),
            "error": error,
        }
        for _ in range(count)
    ]
    with engine.begin() as connection:
        connection.execute(insert(failures), rows)


def step(settings, times=1):
    with workbench.worker(settings) as worker:
        for _ in range(times):
            assert worker.step() is None


def now_live(engine):
    with engine.connect() as connection:
        row = connection.execute(publication.live("default")).one()
    return publication.pointer(row), row.action, row.reason


def verdicts(engine, kind="canary"):
    """Oldest first."""
    with engine.connect() as connection:
        statement = select(evaluations).where(evaluations.c.kind == kind)
        return connection.execute(statement.order_by(evaluations.c.created_at)).all()


def status(engine, version):
    with engine.connect() as connection:
        statement = select(model_versions.c.status).where(model_versions.c.version == version)
        return connection.execute(statement).scalar_one()


def test_nobody_judged_anything_so_the_canary_is_held(settings, canary, engine):
    step(settings, times=2)

    assert now_live(engine)[0] == canary
    (verdict,) = verdicts(engine)
    assert (verdict.verdict, verdict.detail["step"]) == ("not_enough_evidence", "hold")
    assert verdict.reason == "0 judged units in one arm, 50 are needed"
    assert (verdict.estimate, verdict.low, verdict.high) == (None, None, None)


def test_a_canary_that_its_users_like_better_is_promoted(settings, canary, engine, redis_url):
    plant(engine, canary, canary=1.0, champion=0.0)

    step(settings)

    live, action, reason = now_live(engine)
    assert (live.version, live.canary_version, action) == (
        *(canary.canary_version, None, "promote"),
    )
    assert reason.startswith("it is better: gain +1.0000")
    (verdict,) = verdicts(engine)
    assert (verdict.verdict, verdict.clusters, verdict.estimate) == ("pass", 2 * UNITS, 1.0)
    # Two requests of one session are one unit.
    assert verdict.detail["stages"][0]["canary"]["reward"] == {
        "count": UNITS,
        "total": UNITS,
        "squares": UNITS,
    }
    with engine.connect() as connection:
        statement = select(promotions.c.evaluation_id).where(promotions.c.epoch == live.epoch)
        assert connection.execute(statement).scalar_one() == verdict.evaluation_id
    assert status(engine, live.version) == "champion"
    assert announced(redis_url, settings) == live


def test_a_canary_that_its_users_like_less_is_rolled_back_as_a_new_epoch(
    settings, canary, engine, redis_url
):
    plant(engine, canary, canary=0.0, champion=1.0)

    step(settings, times=2)

    live, action, reason = now_live(engine)
    assert live == canary.then(canary.version)
    assert (action, reason) == (
        "rollback",
        "it is worse: gain -1.0000, between -1.0000 and -1.0000",
    )
    assert [each.verdict for each in verdicts(engine)] == ["refuse"]
    assert (status(engine, canary.canary_version), status(engine, canary.version)) == (
        *("rejected", "champion"),
    )
    assert announced(redis_url, settings) == live


def test_a_canary_of_a_tenth_that_is_not_much_worse_gets_half(settings, base, engine, tmp_path):
    models.make(tmp_path / "canary", seed=1)
    tenth = begin(engine, models.manifest(tmp_path / "canary"), share=0.1)
    plant(engine, tenth, canary=0.5, champion=0.5, units=(50, 450))

    step(settings, times=2)

    live, action, _ = now_live(engine)
    assert (live.canary_version, live.canary_share, action) == (tenth.canary_version, 0.5, "canary")
    # What was seen at a tenth counts on, within its own stage.
    first, second = verdicts(engine)
    assert (first.detail["step"], second.detail["step"]) == ("advance", "hold")
    assert [each["share"] for each in second.detail["stages"]] == [0.1, 0.5]
    assert second.detail["stages"][0]["champion"]["reward"]["count"] == 450


@pytest.mark.parametrize(("passed", "found"), [(True, "promote"), (False, "canary")])
def test_only_who_passed_the_gate_is_let_in_by_the_margin(settings, canary, engine, passed, found):
    plant(engine, canary, canary=0.5, champion=0.5)
    if passed:
        pass_the_gate(engine, canary)

    step(settings)

    assert now_live(engine)[1] == found
    (verdict,) = verdicts(engine)
    assert verdict.detail["margin"] == (pytest.approx(-verdict.low) if passed else 0.0)


def test_margins_sum_over_the_champions_ancestors(settings, canary, engine):
    plant(engine, canary, canary=0.5, champion=0.5)
    pass_the_gate(engine, canary)
    granted(
        engine, canary.version, 0.01
    )  # the operator let it in later, with the look after this one
    granted(engine, canary.version, 0.07)
    granted(engine, canary.canary_version, 0.05)

    step(settings)

    (verdict,) = (each for each in verdicts(engine) if each.detail.get("stages"))
    assert (verdict.detail["margins_granted"], verdict.detail["step"]) == (0.07, "hold")


def test_what_was_surely_gained_pays_back_and_is_no_credit(settings, canary, engine):
    plant(engine, canary, canary=0.5, champion=0.5)
    with engine.begin() as connection:
        for version, parent in (("first", None), ("second", "first")):
            connection.execute(
                publication.register_version(
                    version, line="default", base="tiny", uri="", manifest={}, parent=parent
                )
            )
        connection.execute(
            update(model_versions)
            .where(model_versions.c.version == canary.version)
            .values(parent="second")
        )
    granted(engine, "first", -0.2)
    granted(engine, "second", 0.05)
    granted(engine, canary.version, -0.04)

    step(settings)

    (verdict,) = (each for each in verdicts(engine) if each.detail.get("stages"))
    # max(0, -.2) = 0, then + .05, then - .04.
    assert verdict.detail["margins_granted"] == pytest.approx(0.01)


def test_arms_that_are_judged_unequally_often_are_not_compared(settings, canary, engine):
    plant(engine, canary, canary=1.0, champion=0.0, units=(200, 0))
    plant(engine, canary, canary=1.0, champion=0.0, units=(0, 200), judged=0.3)

    step(settings)

    assert now_live(engine)[0] == canary
    (verdict,) = verdicts(engine)
    assert "judged unequally often" in verdict.reason


def test_a_source_in_quarantine_judges_no_canary(settings, canary, engine):
    plant(engine, canary, canary=1.0, champion=0.0)
    with engine.begin() as connection:
        connection.execute(
            quarantine.change(
                tenant="default",
                source_type="CODE",
                source_id="test",
                quarantined=True,
                reason="for a test",
                actor="operator",
            )
        )

    step(settings)

    (verdict,) = verdicts(engine)
    assert verdict.reason == "0 judged units in one arm, 50 are needed"
    # They answered all the same.
    assert verdict.detail["stages"][0]["canary"]["coverage"] == {
        "count": UNITS,
        "total": 0,
        "squares": 0,
    }


def test_what_is_too_young_counts_for_nothing(settings, canary, engine, database_url, redis_url):
    waiting = workbench.settings(
        database_url,
        redis_url,
        settings.cache_dir.parent,
        trainer_canary=True,
        trainer_reward_wait_s=3600.0,
    )
    plant(engine, canary, canary=1.0, champion=0.0)

    step(waiting)

    assert now_live(engine)[0] == canary


def test_a_canary_that_fails_requests_is_rolled_back_before_anybody_judged(
    settings, canary, engine
):
    plant(engine, canary, canary=None, champion=None, judged=0.0)
    fail(engine, canary)

    step(settings)

    live, action, reason = now_live(engine)
    assert (live.canary_version, action) == (None, "rollback")
    assert reason == "+50.00% of its requests fail"


def test_one_score_that_is_no_number_ends_a_canary(settings, canary, engine):
    fail(engine, canary, count=1, error="ScoresNotFinite")

    step(settings)

    assert now_live(engine)[1:] == ("rollback", "a score was not finite")


def test_a_canary_that_is_slow_is_rolled_back(settings, base, engine, tmp_path):
    earlier = Live(line="default", epoch=1, version=base, canary_version="nobody")
    plant(engine, earlier, canary=None, champion=None, units=(0, 50), judged=0.0)
    models.make(tmp_path / "canary", seed=1)
    live = begin(engine, models.manifest(tmp_path / "canary"), share=0.5)
    plant(engine, live, canary=0.5, champion=0.5, units=(0, 400))
    plant(engine, live, canary=0.5, champion=0.5, units=(400, 0), latency_ms=11.0)

    step(settings)

    assert now_live(engine)[1:] == (
        *("rollback", "+100.00% of its requests are slower than the champion's p99"),
    )
    (verdict,) = verdicts(engine)
    assert verdict.detail["slow_ms"] == 10.0


def test_a_frozen_line_keeps_its_canary_whatever_it_does(settings, canary, engine):
    plant(engine, canary, canary=0.0, champion=1.0)
    change(engine, canary, Action.FREEZE)

    step(settings)
    frozen = now_live(engine)
    change(engine, frozen[0], Action.UNFREEZE)
    step(settings)

    assert frozen[1] == "freeze"
    # The epochs of a freeze belong to the same trial.
    assert now_live(engine)[1] == "rollback"


def test_where_canaries_are_the_operators_the_evidence_is_stored_and_nothing_done(
    settings, canary, engine
):
    plant(engine, canary, canary=0.0, champion=1.0)

    step(settings.model_copy(update={"trainer_canary": False}))

    assert now_live(engine)[0] == canary
    assert [each.detail["step"] for each in verdicts(engine)] == ["roll_back"]


def test_a_canary_that_is_undecided_when_its_time_is_up_ends(settings, canary, engine):
    step(settings.model_copy(update={"trainer_canary_days": 1e-9}))

    live, action, reason = now_live(engine)
    assert (live, action) == (canary.then(canary.version), "rollback")
    assert reason.startswith("its time is up: 0 judged units")


def test_who_was_overtaken_does_nothing(settings, canary, engine, monkeypatch):
    plant(engine, canary, canary=0.0, champion=1.0)
    real = publish.promote

    def overtaken(*positional, **named):
        change(engine, canary, Action.FREEZE)
        return real(*positional, **named)

    monkeypatch.setattr(publish, "promote", overtaken)
    step(settings)

    assert now_live(engine)[1] == "freeze"
    assert status(engine, canary.canary_version) == "candidate"


def champion_beside(engine, base, folder, *, share, seed=1):
    """A line that has learned something, and holds back its base."""
    models.make(folder, seed=seed)
    manifest = models.manifest(folder)
    live = models.promote(engine, manifest.version, manifest=manifest)
    if live.hold_back_version is None:
        live = change(engine, live, Action.HOLD_BACK, hold_back_version=base, hold_back_share=share)
    return live


def test_a_champion_is_compared_with_the_base_that_is_held_back(settings, base, engine, tmp_path):
    before = Live(line="default", epoch=1, version=base)
    ask(engine, before, arm="champion", value=1.0, count=UNITS)
    live = champion_beside(engine, base, tmp_path / "first", share=0.5)
    ask(engine, live, arm="champion", value=0.75, count=UNITS)
    ask(engine, live, arm="hold_back", value=0.5, count=UNITS)

    step(settings, times=2)

    (verdict,) = verdicts(engine, "hold_back")
    assert (verdict.version, verdict.champion, verdict.verdict) == (live.version, base, "pass")
    # What the base answered before there was another champion is not concurrent.
    assert (verdict.estimate, verdict.low, verdict.high) == (0.25, 0.25, 0.25)
    assert (verdict.clusters, verdict.detail["units"]) == (
        *(2 * UNITS, {"champion": UNITS, "base": UNITS}),
    )
    assert verdict.reason == (
        "it is better than the base: gain +0.2500, between +0.2500 and +0.2500,"
        " over 60 units of the champion and 60 of the base"
    )
    assert now_live(engine)[0] == live


def test_each_champion_is_compared_for_itself_and_all_of_them_together(
    settings, base, engine, tmp_path
):
    values = (("first", 1.0), ("second", 0.25))
    for seed, (name, value) in enumerate(values, 1):
        live = champion_beside(engine, base, tmp_path / name, share=0.5, seed=seed)
        with engine.begin() as connection:
            connection.execute(publication.release_lease("default", holder="test"))
        ask(engine, live, arm="champion", value=value, count=UNITS)
        ask(engine, live, arm="hold_back", value=0.5, count=UNITS)
        step(settings)

    earlier, present = verdicts(engine, "hold_back")
    assert (earlier.estimate, earlier.verdict) == (0.5, "pass")
    assert (present.estimate, present.verdict, present.version) == (-0.25, "refuse", live.version)
    # Both had as many units: (1 - .5 + .25 - .5) / 2.
    assert present.reason.endswith(
        "; all champions since the hold-back began: it is better than the base: gain +0.1250,"
        " between +0.1250 and +0.1250, over 120 units of the champion and 120 of the base"
    )


@pytest.mark.parametrize(("of_base", "found"), [(0.5, "promote"), (1.0, "canary")])
def test_a_margin_is_granted_only_while_the_champion_is_not_surely_below_the_base(
    settings, base, engine, tmp_path, of_base, found
):
    champion_beside(engine, base, tmp_path / "champion", share=0.2)
    models.make(tmp_path / "canary", seed=2)
    live = begin(engine, models.manifest(tmp_path / "canary"), share=0.5)
    pass_the_gate(engine, live)
    # Half for the canary, a fifth for the base, and what is left for the champion.
    ask(engine, live, arm="canary", value=0.5, count=150)
    ask(engine, live, arm="champion", value=0.5, count=90)
    ask(engine, live, arm="hold_back", value=of_base, count=60)

    step(settings)

    then, action, _ = now_live(engine)
    (verdict,) = verdicts(engine)
    assert (action, verdict.detail["below_base"]) == (found, of_base == 1.0)
    assert verdict.detail["margin"] == (-verdict.low if found == "promote" else 0.0)
    assert (then.hold_back_version, then.hold_back_share) == (base, 0.2)


def test_a_base_that_is_the_champion_is_not_compared(settings, base, engine):
    live = Live(line="default", epoch=1, version=base)
    change(engine, live, Action.HOLD_BACK, hold_back_version=base, hold_back_share=0.5)

    step(settings)

    assert verdicts(engine, "hold_back") == []


def test_a_candidate_that_passes_the_gate_becomes_a_canary_of_a_tenth(
    settings, base, engine, redis_url, monkeypatch
):
    settings = settings.model_copy(update={"trainer_round_min_rewards": 100})
    served = Workshop(settings, Store(settings.artifacts_url), threads=1).served(base, "float32")
    workbench.traffic(engine, served, decisions=500)
    with monkeypatch.context() as patch:
        patch.setattr(runs, "finish", interrupted)
        with workbench.worker(settings) as worker, pytest.raises(KeyboardInterrupt):
            worker.step()

    with workbench.worker(settings) as worker:
        found = worker.step()
        watched = worker.step()

    assert (found, watched) == (Status.CANARY, None)
    live, action, _ = now_live(engine)
    with engine.connect() as connection:
        ((produced, ended),) = connection.execute(
            select(training_runs.c.produced, training_runs.c.status)
        ).all()
    assert (live.epoch, live.version, live.canary_version, live.canary_share) == (
        *(2, base, produced, 0.1),
    )
    assert (action, ended) == ("canary", "canary")
    assert announced(redis_url, settings) == live
    (verdict,) = verdicts(engine)
    assert verdict.detail["passed_gate"]


def interrupted(*_, **__):
    raise KeyboardInterrupt


def pass_the_gate(engine, live):
    record(engine, live.canary_version, champion=live.version, kind="offline", detail={})


def granted(engine, version, margin):
    record(engine, version, champion="before", kind="canary", detail={"margin": margin})


def record(engine, version, **columns):
    row = {
        "evaluation_id": uuid4(),
        "line": "default",
        "version": version,
        "estimator": "none",
        "verdict": "pass",
        "reason": "for a test",
    }
    with engine.begin() as connection:
        connection.execute(insert(evaluations).values(row | columns))


def change(engine, live, action, **own):
    """What an operator does to what is live."""
    then = replace(live, epoch=live.epoch + 1, **own)
    with engine.begin() as connection:
        lease = publication.take_lease(
            "default", holder="operator", ttl=timedelta(minutes=1), force=True
        )
        connection.execute(
            publication.promote(
                then,
                token=connection.execute(lease).scalar_one(),
                actor="operator",
                reason="for a test",
                action=action,
            )
        )
        connection.execute(publication.release_lease("default", holder="operator"))
    return then


def announced(redis_url, settings):
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        document = client.hget(Keys.of("default").state, "document")
    return Live.of_signed(document, secret=settings.secret.get_secret_value().encode())
