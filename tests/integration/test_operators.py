import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError

from contract import publication
from contract.model_tables import evaluations, leases, training_runs
from contract.pointer import Keys, Live
from contract.publication import Action, TokenStale
from contract.refusals import Refusal
from tests.integration.conftest import SECRET, Memory


async def publish(memory: Memory, *names: str) -> list[str]:
    """Each version made champion in turn, by a trainer that lets the lease go."""
    versions = [f"{memory.name}-{name}" for name in names]
    for number, version in enumerate(versions):
        async with memory.engine.begin() as connection:
            token = await take(connection, memory)
            await connection.execute(
                publication.register_version(
                    version,
                    line=memory.name,
                    base="a-base",
                    uri=f"memory://{version}",
                    manifest={"variants": {"int8": {}, "float32": {}}},
                )
            )
            await connection.execute(
                publication.promote(
                    Live(line=memory.name, epoch=number + 1, version=version),
                    token=token,
                    actor="trainer",
                    reason="better",
                    action=Action.PROMOTE if number else Action.INIT,
                )
            )
            await connection.execute(publication.release_lease(memory.name, holder="trainer"))
    return versions


async def take(connection: Any, memory: Memory) -> int:
    ttl = timedelta(minutes=1)
    taken = publication.take_lease(memory.name, holder="trainer", ttl=ttl)
    return int((await connection.execute(taken)).scalar_one())


async def refused(memory: Memory, version: str, *, token: int) -> Refusal | None:
    """What a trainer is told that publishes as epoch 4 under this token."""
    late = publication.promote(
        Live(line=memory.name, epoch=4, version=version),
        token=token,
        actor="trainer",
        reason="late",
    )
    with pytest.raises(DBAPIError) as raised:
        async with memory.engine.begin() as connection:
            await connection.execute(late)
    return publication.refusal_in(raised.value)


async def roll_back(memory: Memory, **body: Any) -> httpx.Response:
    return await memory.client.post("/v1/rollback", json={"reason": "it was better"} | body)


async def promote(memory: Memory, version: str, **body: Any) -> httpx.Response:
    said = {"version": version, "reason": "our own test set prefers it"} | body
    return await memory.client.post("/v1/promotions", json=said)


async def freeze(memory: Memory, **body: Any) -> httpx.Response:
    return await memory.client.post("/v1/freeze", json={"reason": "the sale begins"} | body)


async def is_frozen(memory: Memory) -> bool:
    async with memory.engine.connect() as connection:
        return bool(await connection.scalar(publication.is_frozen(memory.name)))


async def test_a_rollback_is_a_new_epoch_with_the_champion_before(memory: Memory, redis_url: str):
    first, second = await publish(memory, "a", "b")

    reply = await roll_back(memory)

    promotion = reply.json()
    assert reply.status_code == 200
    assert (promotion["epoch"], promotion["version"]) == (3, first)
    assert (promotion["action"], promotion["actor"]) == ("rollback", "operator")
    assert promotion["reason"] == "it was better"
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        document = await redis.hget(Keys.of(memory.name).state, "document")
    assert Live.of_signed(str(document), secret=SECRET) == Live(
        line=memory.name, epoch=3, version=first
    )
    models = (await memory.client.get("/v1/models")).json()["data"]
    assert {each["id"]: (each["live"], each["status"]) for each in models} == {
        first: (True, "champion"),
        second: (False, "retired"),
    }


async def test_a_second_rollback_goes_one_further_back_and_a_third_has_nowhere_to_go(
    memory: Memory,
):
    first, second, _ = await publish(memory, "a", "b", "c")

    replies = [await roll_back(memory) for _ in range(3)]

    assert [reply.status_code for reply in replies] == [200, 200, 409]
    assert [reply.json().get("version") for reply in replies] == [second, first, None]
    assert replies[2].json()["type"] == "urn:rankloop:NothingToRollBack"


async def test_any_version_of_the_line_can_be_named(memory: Memory):
    first, _, third = await publish(memory, "a", "b", "c")

    unknown = await roll_back(memory, to="never heard of")
    present = await roll_back(memory, to=third)
    named = await roll_back(memory, to=first)
    forward = await roll_back(memory, to=third)

    assert (unknown.status_code, present.status_code) == (404, 409)
    assert (named.json()["version"], forward.json()["version"]) == (first, third)
    assert forward.json()["epoch"] == 5


async def test_whoever_looked_before_somebody_published_is_told(memory: Memory):
    await publish(memory, "a", "b")

    moved = await roll_back(memory, expected_epoch=1)
    fits = await roll_back(memory, expected_epoch=2)

    assert (moved.status_code, moved.json()["type"]) == (409, "urn:rankloop:LineMoved")
    assert fits.status_code == 200


async def test_a_line_that_serves_nothing_has_nothing_to_roll_back(memory: Memory):
    assert (await roll_back(memory)).status_code == 404
    assert (await roll_back(memory, line="NUL \x00")).status_code == 422
    assert (await roll_back(memory, reason="")).status_code == 422


async def test_a_trainer_in_flight_finds_its_token_stale(memory: Memory):
    first, second = await publish(memory, "a", "b")
    async with memory.engine.begin() as connection:
        token = await take(connection, memory)

    reply = await roll_back(memory)

    assert reply.json()["version"] == first
    assert isinstance(await refused(memory, second, token=token), TokenStale)


async def test_racing_rollbacks_with_one_expected_epoch_make_one_epoch(memory: Memory):
    await publish(memory, "a", "b", "c")

    replies = await asyncio.gather(*(roll_back(memory, expected_epoch=3) for _ in range(6)))

    assert sorted(reply.status_code for reply in replies) == [200] + [409] * 5
    newest = (await memory.client.get("/v1/promotions")).json()["data"][0]
    assert newest["epoch"] == 4


async def test_the_lease_is_free_again_afterwards(memory: Memory):
    await publish(memory, "a", "b")

    await roll_back(memory)

    async with memory.engine.begin() as connection:
        assert await take(connection, memory) == 3
        name = publication.lease_name(memory.name)
        holder = await connection.scalar(select(leases.c.holder).where(leases.c.name == name))
        assert holder == "trainer"


async def test_any_version_of_the_line_can_be_promoted_by_hand(memory: Memory):
    first, second = await publish(memory, "a", "b")

    unknown = await promote(memory, "never heard of")
    serving = await promote(memory, second)
    reply = await promote(memory, first, expected_epoch=2)

    assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:rankloop:UnknownVersion")
    assert (serving.status_code, serving.json()["type"]) == (409, "urn:rankloop:NothingToChange")
    promotion = reply.json()
    assert (promotion["epoch"], promotion["version"]) == (3, first)
    assert (promotion["action"], promotion["actor"]) == ("promote", "operator")


async def test_a_version_may_be_named_by_its_beginning_where_no_other_begins_so(memory: Memory):
    first, second = await publish(memory, "about", "abbey")

    ambiguous = await promote(memory, f"{memory.name}-ab")
    short = await promote(memory, first[:7])
    reply = await promote(memory, first[:-1])
    back = await roll_back(memory, to=second[:-1])

    assert ambiguous.status_code == 409
    assert ambiguous.json()["type"] == "urn:rankloop:AmbiguousVersion"
    assert short.status_code == 404
    assert reply.json()["version"] == first
    assert back.json()["version"] == second


async def test_a_version_that_others_begin_with_is_named_in_full(memory: Memory):
    first, _ = await publish(memory, "a-version", "a-version-more")

    assert (await promote(memory, first)).json()["version"] == first


async def test_what_was_promoted_by_hand_can_be_taken_back(memory: Memory):
    first, second = await publish(memory, "a", "b")
    await freeze(memory)
    await promote(memory, first)

    reply = await roll_back(memory)

    assert reply.json()["version"] == second


async def test_a_line_is_frozen_until_it_is_let_go_on_whatever_is_served_meanwhile(memory: Memory):
    first, second = await publish(memory, "a", "b")

    frozen = await freeze(memory)
    again = await freeze(memory)
    await promote(memory, first)
    meanwhile = await is_frozen(memory)
    gone_on = await freeze(memory, frozen=False)
    twice = await freeze(memory, frozen=False)

    said = frozen.json()
    assert (said["action"], said["version"], said["epoch"]) == ("freeze", second, 3)
    assert (again.status_code, again.json()["type"]) == (409, "urn:rankloop:NothingToChange")
    assert meanwhile
    assert (gone_on.json()["action"], gone_on.json()["version"]) == ("unfreeze", first)
    assert twice.status_code == 409
    assert not await is_frozen(memory)


async def canary(memory: Memory, version: str, **body: Any) -> httpx.Response:
    said = {"version": version, "reason": "let users say"} | body
    return await memory.client.post("/v1/canary", json=said)


async def end_canary(memory: Memory, **body: Any) -> httpx.Response:
    return await memory.client.post("/v1/canary/end", json={"reason": "complaints"} | body)


async def test_a_canary_is_a_new_epoch_of_the_same_champion_until_it_ends(
    memory: Memory, redis_url: str
):
    first, second = await publish(memory, "a", "b")

    begun = (await canary(memory, first)).json()
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        document = await redis.hget(Keys.of(memory.name).state, "document")
    more = (await canary(memory, first, share=0.5)).json()
    ended = (await end_canary(memory)).json()

    told = ("epoch", "action", "version", "canary_version", "canary_share")
    assert [begun[name] for name in told] == [3, "canary", second, first, 0.1]
    assert [more[name] for name in told] == [4, "canary", second, first, 0.5]
    assert [ended[name] for name in told] == [5, "rollback", second, None, 0.0]
    assert Live.of_signed(str(document), secret=SECRET) == Live(
        line=memory.name, epoch=3, version=second, canary_version=first, canary_share=0.1
    )
    models = (await memory.client.get("/v1/models")).json()["data"]
    assert {each["id"]: each["status"] for each in models} == {
        first: "candidate",
        second: "champion",
    }


async def test_a_freeze_leaves_a_canary_where_it_is_and_a_promotion_ends_it(memory: Memory):
    first, second, third = await publish(memory, "a", "b", "c")
    await canary(memory, second)

    frozen = (await freeze(memory)).json()
    promoted = (await promote(memory, second)).json()
    await canary(memory, third)
    rolled_back = (await roll_back(memory, to=first)).json()

    assert (frozen["canary_version"], frozen["canary_share"]) == (second, 0.1)
    assert (promoted["version"], promoted["canary_version"]) == (second, None)
    assert (rolled_back["version"], rolled_back["canary_version"]) == (first, None)


async def test_a_canary_that_makes_no_sense_is_refused(memory: Memory):
    nothing = await canary(memory, "a")
    first, second = await publish(memory, "a", "b")

    champion, unknown = await canary(memory, second), await canary(memory, "never heard of")
    nothing_to_end = await end_canary(memory)
    await canary(memory, first)
    again = await canary(memory, first)
    moved = await end_canary(memory, expected_epoch=2)
    shares = [await canary(memory, first, share=share) for share in (0, 1, -0.1, "a tenth")]

    assert (nothing.status_code, unknown.status_code) == (404, 404)
    assert champion.json()["type"] == again.json()["type"] == "urn:rankloop:NothingToChange"
    assert nothing_to_end.json()["type"] == "urn:rankloop:NothingToRollBack"
    assert moved.json()["type"] == "urn:rankloop:LineMoved"
    assert {response.status_code for response in shares} == {422}


async def hold_back(memory: Memory, share: Any, **body: Any) -> httpx.Response:
    said = {"share": share, "reason": "what is learning worth?"} | body
    return await memory.client.post("/v1/hold-back", json=said)


async def test_a_hold_back_is_a_new_epoch_that_names_the_base(memory: Memory, redis_url: str):
    first, second = await publish(memory, "a", "b")

    begun = (await hold_back(memory, 0.02)).json()
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        document = await redis.hget(Keys.of(memory.name).state, "document")
    ended = (await hold_back(memory, 0)).json()

    told = ("epoch", "action", "version", "hold_back_version", "hold_back_share")
    assert [begun[name] for name in told] == [3, "hold_back", second, first, 0.02]
    assert [ended[name] for name in told] == [4, "hold_back", second, None, 0.0]
    assert Live.of_signed(str(document), secret=SECRET) == Live(
        line=memory.name, epoch=3, version=second, hold_back_version=first, hold_back_share=0.02
    )


async def test_a_hold_back_goes_on_whatever_else_is_done(memory: Memory):
    first, second = await publish(memory, "a", "b")
    await hold_back(memory, 0.02)

    done = [
        await canary(memory, first),
        await end_canary(memory),
        await promote(memory, first),
        await roll_back(memory, to=second),
        await freeze(memory),
        await freeze(memory, frozen=False),
        await memory.client.post("/v1/rebuild", json={"reason": "poisoned for weeks"}),
    ]

    assert [reply.json()["epoch"] for reply in done] == list(range(4, 11))
    assert {
        (reply.json()["hold_back_version"], reply.json()["hold_back_share"]) for reply in done
    } == {(first, 0.02)}


async def test_who_changes_the_hold_back_leaves_canary_and_rebuild_where_they_are(memory: Memory):
    first, second = await publish(memory, "a", "b")
    await canary(memory, first)

    beside = (await hold_back(memory, 0.02)).json()
    await memory.client.post("/v1/rebuild", json={"reason": "poisoned for weeks"})
    await hold_back(memory, 0.05)

    assert (beside["version"], beside["canary_version"], beside["canary_share"]) == (
        *(second, first, 0.1),
    )
    assert await is_rebuilding(memory)


async def test_a_hold_back_that_makes_no_sense_is_refused(memory: Memory):
    nothing = await hold_back(memory, 0.02)
    first, _ = await publish(memory, "a", "b")

    nobody = await hold_back(memory, 0)
    await hold_back(memory, 0.1)
    again, moved = await hold_back(memory, 0.1), await hold_back(memory, 0.2, expected_epoch=2)
    too_large = await canary(memory, first, share=0.95)
    await canary(memory, first, share=0.9)
    larger = await hold_back(memory, 0.2)
    shares = [await hold_back(memory, share) for share in (-0.1, 0.5, 1, "a tenth", None)]

    assert nothing.status_code == 404
    assert nobody.json()["type"] == again.json()["type"] == "urn:rankloop:NothingToChange"
    assert moved.json()["type"] == "urn:rankloop:LineMoved"
    assert too_large.json()["type"] == larger.json()["type"] == "urn:rankloop:SharesTooLarge"
    assert {reply.status_code for reply in (nobody, again, moved, too_large, larger)} == {409}
    assert {response.status_code for response in shares} == {422}


async def test_a_trainer_that_is_about_to_publish_to_a_frozen_line_is_refused(memory: Memory):
    _, second = await publish(memory, "a", "b")
    async with memory.engine.begin() as connection:
        token = await take(connection, memory)

    await freeze(memory)

    assert isinstance(await refused(memory, second, token=token), TokenStale)


async def is_rebuilding(memory: Memory) -> bool:
    async with memory.engine.connect() as connection:
        return bool(await connection.scalar(publication.is_rebuilding(memory.name)))


async def begin_a_round(memory: Memory, champion: str) -> None:
    async with memory.engine.begin() as connection:
        await connection.execute(
            insert(training_runs).values(
                run_id=uuid4(),
                line=memory.name,
                champion=champion,
                fencing_token=1,
                seed=7,
                spec_id="answer_quality",
                spec_version=1,
            )
        )


async def test_a_rebuild_serves_the_base_until_a_round_has_begun(memory: Memory):
    first, second, _ = await publish(memory, "a", "b", "c")
    await begin_a_round(memory, second)
    before = await is_rebuilding(memory)

    reply = await memory.client.post("/v1/rebuild", json={"reason": "poisoned for weeks"})

    said = reply.json()
    assert (said["action"], said["version"], said["epoch"]) == ("rebuild", first, 4)
    assert (before, await is_rebuilding(memory)) == (False, True)
    await freeze(memory)
    assert await is_rebuilding(memory)
    await begin_a_round(memory, first)
    assert not await is_rebuilding(memory)


async def test_who_promotes_after_a_rebuild_calls_it_off(memory: Memory):
    _, second = await publish(memory, "a", "b")
    await memory.client.post("/v1/rebuild", json={"reason": "poisoned for weeks"})

    await promote(memory, second)

    assert not await is_rebuilding(memory)


async def test_a_line_that_serves_nothing_can_be_neither_promoted_nor_frozen(memory: Memory):
    assert (await promote(memory, "a")).status_code == 404
    assert (await freeze(memory)).status_code == 404


async def test_models_promotions_runs_and_evaluations_are_listed_newest_first(memory: Memory):
    first, second = await publish(memory, "a", "b")
    run_id = uuid4()
    async with memory.engine.begin() as connection:
        await connection.execute(
            insert(training_runs).values(
                run_id=run_id,
                line=memory.name,
                champion=first,
                fencing_token=1,
                seed=7,
                spec_id="answer_quality",
                spec_version=1,
                skipped={"not_a_prefix": 2},
            )
        )
        await connection.execute(
            insert(evaluations).values(
                evaluation_id=uuid4(),
                run_id=run_id,
                line=memory.name,
                version=second,
                champion=first,
                kind="offline",
                n=500,
                estimator="delta_beta_ips",
                estimate=0.1,
                low=0.02,
                high=0.18,
                verdict="pass",
                reason="the bound is above 0",
                detail={"round": 1},
            )
        )

    listed = {
        name: (await memory.client.get(f"/v1/{name}?limit=5")).json()["data"]
        for name in ("models", "promotions", "runs", "evaluations")
    }

    assert [each["id"] for each in listed["models"]] == [second, first]
    assert listed["models"][0]["precisions"] == ["float32", "int8"]
    assert [each["epoch"] for each in listed["promotions"]] == [2, 1]
    assert listed["runs"][0]["skipped"] == {"not_a_prefix": 2}
    assert listed["evaluations"][0]["low"] == 0.02
    limited = (await memory.client.get("/v1/promotions?limit=1")).json()["data"]
    assert len(limited) == 1
    elsewhere = (await memory.client.get("/v1/promotions?line=elsewhere")).json()["data"]
    assert elsewhere == []


async def test_limits_and_lines_that_make_no_sense_are_refused(memory: Memory):
    for query in ("limit=0", "limit=1001", "limit=x", "line=%00", "line="):
        assert (await memory.client.get(f"/v1/models?{query}")).status_code == 422
