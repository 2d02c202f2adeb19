"""What is owed to the broker: written with the outcome itself, in its order, until it is settled."""

from __future__ import annotations

import asyncio
import hashlib
import json

from host.journal import Journal
from host.library import Library
from host.sinks.outbox import Outbox, Owed, stop_owing
from tests.host.sinks.conftest import TOPICS
from tests.host.sinks.finished_work import FinishedWork


async def owed_by(outbox: Outbox) -> list[Owed]:
    return [one async for one in outbox.owed()]


async def bodies(outbox: Outbox) -> list[dict]:
    return [json.loads(message.payload) for one in await owed_by(outbox) for message in one.messages]


async def texts(outbox: Outbox) -> list[str]:
    return [body["results"][0]["data"]["text"] for body in await bodies(outbox)]


async def test_a_result_is_owed_in_the_order_in_which_it_was_finished(outbox, work):
    for name in ("a", "b", "c"):
        await work.arrives(name, f"{name}.png")
    for name in ("b", "c", "a"):
        await work.finishes(name, text=name)
    assert await texts(outbox) == ["b", "c", "a"]


async def test_a_result_says_what_it_is_about(outbox, work):
    await work.arrives("e1", "porch/esp32/cat.png", source="mqtt")
    await work.finishes("e1", text="a cat")
    [owed] = await owed_by(outbox)
    [message] = owed.messages
    body = json.loads(message.payload)
    assert message.topic == "sensorium/results/porch/clip"
    assert (body["id"], body["host"], body["plugin"]) == (owed.id, "attic", "clip")
    assert body["event"]["origin"] == "porch/esp32/cat.png"
    assert body["event"]["tags"] == ["garden"]
    assert body["results"][0]["data"] == {"text": "a cat"}


async def test_each_plugin_is_told_when_it_is_done_and_not_when_the_last_one_is(outbox, work):
    await work.arrives("e1", "cat.png", plugins=("clip", "slow"))
    await work.finishes("e1", "clip")
    assert [body["plugin"] for body in await bodies(outbox)] == ["clip"]


async def test_every_arrival_of_a_content_is_told(outbox, work):
    await work.arrives("e1", "porch/cat.png", source="mqtt")
    await work.arrives("e1", "hall/cat.png", source="mqtt")
    await work.finishes("e1")
    topics = [message.topic for one in await owed_by(outbox) for message in one.messages]
    assert topics == ["sensorium/results/porch/clip", "sensorium/results/hall/clip"]


async def test_a_content_that_was_worked_on_before_is_told_to_its_new_arrival_at_once(outbox, work):
    await work.arrives("e1", "porch/cat.png", source="mqtt")
    await work.finishes("e1")
    await outbox.settle([one.id for one in await owed_by(outbox)])
    await work.arrives("e1", "hall/cat.png", source="mqtt")
    assert [body["event"]["origin"] for body in await bodies(outbox)] == ["hall/cat.png"]


async def test_the_same_arrival_delivered_again_is_told_once(outbox, work):
    await asyncio.gather(*(work.arrives("e1", "cat.png") for _ in range(5)))
    await work.finishes("e1")
    await asyncio.gather(*(work.arrives("e1", "cat.png") for _ in range(5)))
    assert len(await bodies(outbox)) == 1


async def test_what_is_settled_is_owed_no_more(outbox, work):
    for name in ("a", "b"):
        await work.arrives(name, name)
        await work.finishes(name, text=name)
    [first, _] = await owed_by(outbox)
    await outbox.settle([first.id])
    assert await texts(outbox) == ["b"]


async def test_numbers_are_never_used_again(outbox, work):
    await work.arrives("a", "a")
    await work.finishes("a")
    [first] = await owed_by(outbox)
    await outbox.settle([first.id])
    await work.arrives("b", "b")
    await work.finishes("b")
    [second] = await owed_by(outbox)
    assert second.id > first.id


async def test_more_than_one_group_is_read_in_order(outbox, work):
    for number in range(230):
        await work.arrives(f"e{number:03}", "x", source=f"s{number}")
        await work.finishes(f"e{number:03}", text=str(number))
    assert await texts(outbox) == [str(number) for number in range(230)]


async def test_a_job_done_anew_is_told_with_its_new_result_and_only_once(outbox, work):
    await work.arrives("e1", "cat.png")
    await work.finishes("e1", text="old")
    await work.is_requeued("e1")
    await work.finishes("e1", text="new")
    assert await texts(outbox) == ["new"]


async def test_a_failure_that_is_tried_again_is_not_told_meanwhile(outbox, work):
    await work.arrives("e1", "cat.png")
    await work.fails("e1")
    await work.is_requeued("e1")
    assert await bodies(outbox) == []
    await work.finishes("e1", text="at last")
    assert await texts(outbox) == ["at last"]


async def test_a_failed_job_goes_to_the_errors_with_its_reason_and_what_to_do(outbox, work):
    await work.arrives("e1", "cat.png")
    await work.fails("e1", message="It is cut off.")
    [owed] = await owed_by(outbox)
    body = json.loads(owed.messages[0].payload)
    assert owed.messages[0].topic == "sensorium/errors/inbox/clip"
    assert (body["code"], body["message"], body["hint"]) == ("bad_input", "It is cut off.", "Send it again.")
    assert (body["event"], body["origin"], body["attempts"]) == ("e1", "cat.png", 1)


async def test_a_refused_arrival_goes_to_the_errors_each_time(outbox, work):
    await work.is_refused("porch/x", "It is empty.", source="mqtt", revision="1")
    await work.is_refused("porch/x", "It is too large.", source="mqtt", revision="2")
    assert [body["message"] for body in await bodies(outbox)] == ["It is empty.", "It is too large."]
    assert {one.messages[0].topic for one in await owed_by(outbox)} == {"sensorium/errors/porch"}


async def test_a_file_goes_out_raw_before_the_result_that_names_it(outbox, work):
    picture = b"\xff\xd8\xff jpeg"
    await work.arrives("e1", "cat.png")
    await work.finishes("e1", file=picture)
    [owed] = await owed_by(outbox)
    raw, result = owed.messages
    assert (raw.topic, raw.payload, raw.media_type) == ("sensorium/artifacts/inbox/clip", picture, "image/jpeg")
    part = json.loads(result.payload)["results"][1]
    assert (part["artifact"], part["sha256"]) == (raw.topic, hashlib.sha256(picture).hexdigest())


async def test_a_file_that_is_gone_from_the_library_does_not_hold_up_its_result(outbox, work, library):
    await work.arrives("e1", "cat.png")
    await work.finishes("e1", file=b"\xff\xd8\xff jpeg")
    for path in library.root.glob("*/*.jpg"):
        path.unlink()
    [body] = await bodies(outbox)
    assert [part["artifact"] for part in body["results"]] == [None, None]


async def test_no_path_of_the_host_leaves_it(outbox, work, library):
    await work.arrives("e1", "cat.png")
    await work.finishes("e1", file=b"\xff\xd8\xff jpeg")
    [owed] = await owed_by(outbox)
    assert not [one for one in owed.messages if str(library.root).encode() in one.payload]


async def test_a_host_without_a_broker_owes_nothing(journal: Journal, library: Library, work: FinishedWork):
    outbox = Outbox(journal, library, TOPICS, lambda source, origin: source)
    await work.arrives("e1", "cat.png")
    await work.finishes("e1")
    assert await outbox.count() == 0


async def test_what_is_owed_when_publishing_is_switched_off_is_forgotten(outbox, work, journal):
    await work.arrives("e1", "cat.png")
    await work.finishes("e1")
    assert await outbox.count() == 1
    await stop_owing(journal)
    assert await outbox.count() == 0
    await work.arrives("e2", "dog.png")
    await work.finishes("e2")
    assert await outbox.count() == 0
