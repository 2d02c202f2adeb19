"""The contract between Sensorium and its plugins: all that a plugin author needs to import."""

from hooks.errors import BadInput, InvalidPlugin, ModelUnavailable, OutOfMemory, SensoriumError, WireError
from hooks.events import Audio, Data, Document, Event, Failure, Image, Kind, Result, Text, Video
from hooks.hookspecs import API_VERSION, hookimpl, hookspec
from hooks.model import Context, Device, ModelSpec, Variant
from hooks.results import (
    Caption,
    Color,
    Embedding,
    ImageInfo,
    Label,
    Labels,
    ResultData,
    Segment,
    Thumbnail,
    Transcript,
    Word,
)

__all__ = [
    "API_VERSION",
    "Audio",
    "BadInput",
    "Caption",
    "Color",
    "Context",
    "Data",
    "Device",
    "Document",
    "Embedding",
    "Event",
    "Failure",
    "Image",
    "ImageInfo",
    "InvalidPlugin",
    "Kind",
    "Label",
    "Labels",
    "ModelSpec",
    "ModelUnavailable",
    "OutOfMemory",
    "Result",
    "ResultData",
    "Segment",
    "SensoriumError",
    "Text",
    "Thumbnail",
    "Transcript",
    "Variant",
    "Video",
    "WireError",
    "Word",
    "hookimpl",
    "hookspec",
]
