"""A plugin without a model that answers at once: what is left is the cost of the way to a worker and back."""

from __future__ import annotations

from collections.abc import Iterator

from hooks import Caption, Data, Result, ResultData, Text, hookimpl

ARRAY = b"\1" * (10 * 1024 * 1024)


class Array(ResultData):
    """Ten MiB."""

    type = "array"
    blob_field = "content"
    content: bytes


@hookimpl
def on_text(events: list[Text]) -> Iterator[Result]:
    for event in events:
        yield event.result(Caption(text=event.name))


@hookimpl
def on_data(events: list[Data]) -> Iterator[Result]:
    for event in events:
        yield event.result(Array(content=ARRAY))
