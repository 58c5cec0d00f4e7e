from typing import Any

import httpx

from tests.integration.conftest import Memory


async def change(memory: Memory, **body: Any) -> httpx.Response:
    said = {"source": {"type": "END_USER", "id": "mallory"}, "reason": "votes against all"}
    return await memory.client.post("/v1/quarantines", json=said | {"tenant": memory.name} | body)


async def test_a_quarantine_says_who_since_when_and_why(memory: Memory):
    reply = await change(memory, since="2026-01-31T12:00:00Z")

    said = reply.json()
    assert reply.status_code == 200
    assert (said["tenant"], said["source_type"], said["source_id"]) == (
        memory.name,
        "END_USER",
        "mallory",
    )
    assert (said["quarantined"], said["since"]) == (True, "2026-01-31T12:00:00Z")
    assert (said["actor"], said["reason"]) == ("operator", "votes against all")


async def test_it_is_lifted_once_and_every_change_stays_listed(memory: Memory):
    await change(memory)

    lifted = await change(memory, quarantined=False, reason="a broken button")
    twice = await change(memory, quarantined=False)
    again = await change(memory)

    rows = (await memory.client.get("/v1/quarantines?limit=1000")).json()["data"]
    assert (lifted.status_code, twice.status_code, again.status_code) == (200, 409, 200)
    assert twice.json()["type"] == "urn:rankloop:NothingToChange"
    assert [row["quarantined"] for row in rows if row["tenant"] == memory.name] == [
        True,
        False,
        True,
    ]


async def test_a_source_that_was_never_in_quarantine_cannot_be_lifted(memory: Memory):
    assert (await change(memory, quarantined=False)).status_code == 409


async def test_without_a_tenant_it_is_the_callers(memory: Memory):
    assert (await change(memory, tenant=None)).json()["tenant"] == memory.name


async def test_what_makes_no_sense_is_refused(memory: Memory):
    for wrong in ({"reason": ""}, {"since": "yesterday"}, {"source": {"type": "ALIEN", "id": "a"}}):
        assert (await change(memory, **wrong)).status_code == 422
