"""The settings, their defaults and what each is for: the shape of config.toml.

Relative paths are taken from the folder given as `base` in the validation context, else from the current folder.
Keys of the file are the aliases where a field has one: `[[inbox]]` fills `inboxes`.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from hooks.events import KIND_PATTERN
from host.topics import SHARE, TopicPattern


def _absolute(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base") or Path.cwd()
    if "\0" in str(path):
        raise ValueError("a path cannot contain a NUL character")
    try:
        return Path(os.path.abspath(base / path.expanduser()))
    except RuntimeError as error:  # ~name of somebody unknown
        raise ValueError(str(error)) from error


def _folder_name(path: Path) -> str:
    """A folder's name as text that a source may be called by, whatever bytes it has."""
    text = os.fsencode(path.name).decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f]", "?", text)[:100] or "root"


def _usable_as_folder(name: str) -> str:
    """Names of inboxes are folders in the outbox where there are several."""
    if name in (".", ".."):
        raise ValueError("a name cannot be . or ..")
    if name in OTHER_SOURCES:
        raise ValueError(f"the name {name} is taken by the host itself; choose another with name = ...")
    return name


# What else has a folder in the outbox, or is a source.
OTHER_SOURCES = frozenset({"failed", "submit", "search", "mqtt"})

Folder = Annotated[Path, AfterValidator(_absolute)]
Name = Annotated[str, Field(pattern=r"^[^/\x00-\x1f\x7f]+$", max_length=100), AfterValidator(_usable_as_folder)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Days = Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)]
Period = Annotated[float, Field(ge=0.1, allow_inf_nan=False)]

# Defaults that must go through validation stand as the file would state them: only then are they taken from its folder.
DATA: Any = "data"
OUTBOX: Any = "outbox"
INBOXES: Any = ({"path": "inbox"},)
PATHS: Any = {}
MQTT: Any = {}
SECRET: Final = "secret"  # the kind of a complaint that must not repeat the value


class Section(BaseModel):
    """Base of the sections: what nobody knows is refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, validate_by_alias=True, validate_by_name=True
    )


class Paths(Section):
    """Where things lie."""

    data: Folder = Field(default=DATA, description="The host's own folder: journal, library, index, log.")
    outbox: Folder = Field(default=OUTBOX, description="Where the sidecar files with the results go.")
    failed: Folder = Field(
        default_factory=lambda data: data["outbox"] / "failed",
        validate_default=False,
        description="Where the reports of failed jobs go; `failed` in the outbox when it is not set.",
    )


class Inbox(Section):
    """A folder whose files are taken in."""

    path: Folder = Field(description="The folder; made when it is missing at the first start.")
    name: Name = Field(
        default_factory=lambda data: _folder_name(data["path"]),
        description="What it is called in answers and routes; the folder's own name when it is not set.",
    )
    mode: Literal["watch", "poll"] = Field(
        default="watch", description='"watch" is told of changes by the system; "poll" looks, for network mounts.'
    )
    after: Literal["remove", "done", "keep"] = Field(
        default="remove",
        description='What becomes of a file when its content is safe in the library: "remove" it, move it to '
        '"done", or "keep" it where it is.',
    )
    done: Folder | None = Field(
        default_factory=lambda data: data["path"] / "done" if data["after"] == "done" else None,
        validate_default=False,
        description='Where files go with after = "done"; `done` in the inbox when it is not set.',
    )
    recursive: bool = Field(default=True, description="Whether folders in it are watched as well.")
    ignore: tuple[str, ...] = Field(
        default=(), description="Patterns of names that are left alone, beside hidden, partial and junk files."
    )
    tags: tuple[str, ...] = Field(default=(), description="Tags for everything that arrives here.")
    tags_from_folders: bool = Field(default=False, description="Whether the names of folders in it become tags.")
    quiet: Seconds = Field(default=1.0, description="Seconds for which a file must not change before it is taken.")
    scan_every: Period = Field(default=300.0, description="Seconds between full scans when the system reports nothing.")
    poll_every: Period = Field(default=5.0, description='Seconds between two looks with mode = "poll".')
    max_size_mb: Count = Field(default=4096, description="Larger files are refused.")
    marker: str = Field(
        default="",
        pattern=r"^[^/\x00]*$",
        description='When set, as ".done": NAME is taken only once NAME.done is there too.',
    )


class Host(Section):
    """The host itself."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="How much is logged, on the terminal and in logs/host.log of the data folder."
    )


class Devices(Section):
    """What models may compute on."""

    use_gpu: bool = Field(default=True, description="Whether GPUs are used where there are any.")
    gpu_reserve_mb: int = Field(
        default=500, ge=0, description="Memory of each GPU that stays free beside what other programs hold."
    )
    cpu_memory_mb: Count | None = Field(
        default=None,
        description="Memory for models on the CPU; three quarters of what the host may use when it is not set.",
    )
    threads: Count | None = Field(
        default=None, description="Threads of a model on the CPU; as many as there are cores when it is not set."
    )
    yield_above_mb: Count | None = Field(
        default=None,
        description="When other programs hold more of a GPU's memory than this, our models leave it; never when it is "
        "not set.",
    )
    yield_after: Seconds = Field(default=5.0, description="Seconds for which they must hold it before that.")
    yield_back_after: Seconds = Field(
        default=60.0, description="Seconds for which they must hold well below that before the GPU is used again."
    )
    history_days: Days = Field(
        default=7.0, description="Days for which it is kept who computed and what was in memory when."
    )


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)


def _on_the_wall(moment: time) -> time:
    if moment.tzinfo is not None:
        raise ValueError('is local time: leave the zone out, as in "22:00"')
    return moment


WallTime = Annotated[time, AfterValidator(_on_the_wall)]


class QuietHours(Section):
    """Hours in which the host leaves the GPUs, or everything, alone."""

    begin: WallTime = Field(alias="from", description='Local time at which they begin, as "22:00".')
    end: WallTime = Field(
        alias="to", description="Local time at which they end; of the next day when it is not later than `from`."
    )
    days: tuple[Day, ...] = Field(
        default=DAYS, min_length=1, description='Days on which they begin, as "mon"; every day when it is not set.'
    )
    pause: Literal["gpu", "all"] = Field(
        default="gpu",
        description='What is left alone: "gpu" takes the models off the GPUs; "all" holds back all jobs as well.',
    )


class Sidecars(Section):
    """What is written beside a file's results."""

    texts: tuple[Literal["txt", "srt", "vtt"], ...] = Field(
        default=("srt",),
        description="Text files beside the sidecar, where a result has them: plain text, and subtitles for players.",
    )
    derived: bool = Field(
        default=False,
        description="Whether what plugins make of a file (a film's frames) has sidecars of its own, and is published.",
    )


class Clusters(Section):
    """Groups of what is alike."""

    every_hours: float = Field(
        default=0.0,
        ge=0,
        le=24 * 366,
        allow_inf_nan=False,
        description="Hours between two looks at what is new; 0: only when `sensorium cluster` is called.",
    )
    albums: bool = Field(
        default=False,
        description="Whether outbox/albums has a folder for each cluster: links to its files, and a contact sheet.",
    )
    derived: bool = Field(
        default=False, description="Whether what plugins make of a file (a film's frames) is grouped as well."
    )


class Jobs(Section):
    """How often failed work is tried."""

    attempts: Count = Field(default=3, le=100, description="How often a job is tried before it is set aside.")
    backoff: tuple[Seconds, ...] = Field(
        default=(1.0, 5.0, 25.0),
        min_length=1,
        description="Seconds before each further attempt; the last one counts for all that follow.",
    )
    suspend_after: int = Field(
        default=10,
        ge=0,
        description="Jobs of one plugin that fail in a row before it is suspended: its jobs wait then, until "
        "`sensorium plugin enable`. What is wrong with a file does not count. 0: never.",
    )


class Route(Section):
    """Narrows which events a plugin gets; what is empty matches everything."""

    plugin: str = Field(default="*", description='Name of a plugin, or "*" for all.')
    sources: tuple[str, ...] = Field(default=(), description="Names of inboxes and other sources.")
    folders: tuple[str, ...] = Field(default=(), description="Patterns of folders inside the inbox, or of whole paths.")
    media_types: tuple[str, ...] = Field(default=(), description='Patterns of media types, as "image/*".')
    kinds: tuple[Annotated[str, Field(pattern=KIND_PATTERN)], ...] = Field(default=(), description="Kinds of events.")
    results: tuple[str, ...] = Field(
        default=(),
        description='Types of results whose text the plugin reads, as "transcript"; instead of those that it reads by '
        "itself. A route with results narrows nothing.",
    )
    enabled: bool = Field(default=True, description="false: what matches does not go to the plugin.")
    priority: Literal["normal", "background"] | None = Field(
        default=None,
        description='"background": what matches waits for all other work. A route with a priority narrows nothing.',
    )


SPOKEN = (Route(plugin="espeak", folders=("speak", "sensorium/in/*/speak")),)


class PluginUse(Section):
    """What the host does with a plugin: keys of the plugin's table beside its own. None: as the plugin says."""

    enabled: bool = Field(default=True, description="Whether the plugin is used.")
    priority: Literal["normal", "background"] = Field(
        default="normal", description='"background": its jobs wait for all other work, but not for ever.'
    )
    pin: bool | None = Field(default=None, description="Whether its model never leaves once it is loaded.")
    preload: bool | None = Field(default=None, description="Whether its model is loaded at the start.")
    exclusive: bool | None = Field(default=None, description="Whether its model has its device for itself.")
    weight: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="How much dearer than others its model is to lose."
    )
    warm_spare: bool = Field(
        default=False,
        description="Whether a worker waits that has imported its libraries, so that loading costs the weights alone.",
    )

    def spec_changes(self) -> dict[str, Any]:
        """What is stated of the model."""
        return self.model_dump(include={"pin", "preload", "exclusive", "weight"}, exclude_none=True)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """As the configuration writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    @property
    def is_here(self) -> bool:
        """Whether it is this very machine, so that nobody can listen on the way."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _address(broker: str) -> Address:
    try:
        parts = urlsplit(broker)
    except ValueError as error:
        raise ValueError("is no address") from error
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError('should be "embedded", "mqtt://host:1883" or "mqtts://host:8883"')
    if parts.username or parts.password:
        advice = "cannot hold a user or password; set SENSORIUM_MQTT_USER and SENSORIUM_MQTT_PASSWORD"
        raise PydanticCustomError(SECRET, advice)
    tls = parts.scheme == "mqtts"
    try:
        return Address(parts.hostname, parts.port or (8883 if tls else 1883), tls)
    except ValueError as error:
        raise ValueError("should have a port from 1 to 65535") from error


def _not_twice(qos: int) -> int:
    if qos == 2:
        raise ValueError(
            "cannot be 2: the first answer of QoS 2 goes out before the message is stored, so that a crash could lose "
            "it; use 1, which loses nothing here and brings no result twice"
        )
    return qos


def _topic_pattern(text: str) -> str:
    TopicPattern.parse(text)
    return text


class Subscription(Section):
    """Messages that are taken in."""

    topic: Annotated[str, AfterValidator(_topic_pattern)] = Field(
        description="The filter, with + for one level and # for all that follow; {name} is a level that becomes a tag. "
        "$share/GROUP/ in front lets several hosts divide the messages."
    )
    qos: Annotated[int, Field(ge=0, le=2), AfterValidator(_not_twice)] = Field(
        default=1, description="1: nothing is lost; 0: what comes while the host or the way to it is down is lost."
    )
    retained: Literal["take", "ignore"] = Field(
        default="take",
        description='What becomes of messages that the broker kept: "take" each content once, or "ignore" them.',
    )
    envelope: bool = Field(
        default=False,
        description='Whether a message is JSON, {"media": BASE64, "type": MEDIA TYPE, "meta": {…}}, and not the media.',
    )
    tags: tuple[str, ...] = Field(default=(), description="Tags for everything that arrives here.")
    max_size_mb: Count = Field(default=32, le=256, description="Larger messages are refused.")


SUBSCRIPTIONS: Any = ({"topic": "sensorium/in/{device}/#"},)


class Mqtt(Section):
    """The broker, and what is taken in from it."""

    allow_plain_text: bool = Field(
        default=False, description="Whether passwords and messages may cross the network without TLS."
    )
    broker: str | None = Field(
        default=None,
        description='"embedded" for one of our own, for trying things out; "mqtt://host:1883" or "mqtts://host:8883" '
        "for yours. User and password come from SENSORIUM_MQTT_USER and SENSORIUM_MQTT_PASSWORD. Not set: no MQTT.",
    )
    embedded_port: int = Field(
        default=1883,
        ge=1,
        le=65_535,
        description="Port of the embedded broker, on this machine alone; the next free one when it is taken.",
    )
    client_id: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_-]*$",
        max_length=100,
        description="What the broker knows this host by, unique there; made from the data folder when it is not set.",
    )
    protocol: Literal["5", "3.1.1"] = Field(default="5", description="Version of MQTT that the broker speaks.")
    ca: Folder | None = Field(
        default=None, description="PEM file of the authority that signed the broker's certificate."
    )
    certificate: Folder | None = Field(default=None, description="PEM file of this host's own certificate.")
    key: Folder | None = Field(default=None, description="PEM file of the key of this host's certificate.")
    keepalive: int = Field(default=60, ge=5, le=3600, description="Seconds after which a silent connection is lost.")
    session_expiry: int = Field(
        default=7 * 24 * 3600,
        ge=60,
        le=2**32 - 1,
        description="Seconds for which the broker keeps messages for this host while it is away.",
    )
    window: int = Field(
        default=2000, ge=1, le=65_535, description="Messages that may be under way before the first is acknowledged."
    )
    name: str = Field(
        default="",
        pattern=r"^[^/+#\x00-\x1f\x7f]*$",
        max_length=64,
        description="What devices and Home Assistant call this host; the machine's name when it is not set.",
    )
    base_topic: str = Field(
        default="sensorium",
        pattern=r"^[^/+#$\x00-\x1f\x7f][^/+#\x00-\x1f\x7f]*$",
        max_length=64,
        description="The first level of all topics on which results, states and answers are published.",
    )
    control: bool = Field(
        default=False,
        description="Whether whoever may write to the broker may pause, resume, requeue and unload models.",
    )
    discovery: bool = Field(default=True, description="Whether Home Assistant is told of this host.")
    discovery_prefix: str = Field(
        default="homeassistant",
        pattern=r"^[^+#$\x00-\x1f\x7f/]+(/[^+#\x00-\x1f\x7f/]+)*$",
        max_length=128,
        description="Where Home Assistant looks, as it is set there.",
    )
    subscribe: tuple[Subscription, ...] = Field(
        default=SUBSCRIPTIONS, description="What is taken in; from sensorium/in/DEVICE/… when none is set."
    )

    @field_validator("broker")
    @classmethod
    def _is_reachable(cls, broker: str | None, info: ValidationInfo) -> str | None:
        if broker is None or broker == "embedded":
            return broker
        address = _address(broker)
        if not (address.tls or address.is_here or info.data.get("allow_plain_text")):
            raise ValueError(
                "is on another machine and not encrypted; use mqtts://, or set allow_plain_text = true if everybody on "
                "the way may read and change it"
            )
        return broker

    @field_validator("subscribe")
    @classmethod
    def _is_understood(cls, subscribe: tuple[Subscription, ...], info: ValidationInfo) -> tuple[Subscription, ...]:
        if info.data.get("broker") == "embedded":
            for one in subscribe:
                if one.topic.startswith(SHARE):
                    raise ValueError(
                        f"cannot have {one.topic}: the embedded broker knows no shared subscriptions; use mosquitto, "
                        "or leave $share/GROUP/ out"
                    )
        return subscribe

    @property
    def is_embedded(self) -> bool:
        """Whether the host starts the broker itself."""
        return self.broker == "embedded"

    @property
    def address(self) -> Address:
        """Where the broker is; only when one is set."""
        return Address("127.0.0.1", self.embedded_port) if self.is_embedded else _address(self.broker or "")

    @property
    def version(self) -> str:
        """The version of MQTT that is spoken; the embedded broker knows the older one."""
        return "3.1.1" if self.is_embedded else self.protocol

    def credentials(self) -> tuple[str | None, str | None]:
        """User and password, from the environment."""
        return os.environ.get("SENSORIUM_MQTT_USER") or None, os.environ.get("SENSORIUM_MQTT_PASSWORD") or None


def use_of(table: dict[str, Any]) -> PluginUse:
    """The host's keys of a plugin's table."""
    return PluginUse.model_validate({key: value for key, value in table.items() if key in PluginUse.model_fields})


class Config(Section):
    """A whole configuration, complete and checked; made by `load_config`."""

    _path: Path | None = PrivateAttr(default=None)

    host: Host = Host()
    paths: Paths = Field(default=PATHS)
    inboxes: tuple[Inbox, ...] = Field(default=INBOXES, min_length=1, alias="inbox")
    devices: Devices = Devices()
    quiet_hours: tuple[QuietHours, ...] = Field(default=(), alias="quiet_hours")
    jobs: Jobs = Jobs()
    sidecars: Sidecars = Sidecars()
    clusters: Clusters = Clusters()
    routes: tuple[Route, ...] = Field(default=SPOKEN, alias="route")
    mqtt: Mqtt = Field(default=MQTT)
    plugins: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Settings for each plugin, checked by its own class; some keys are the host's.",
    )

    @property
    def path(self) -> Path | None:
        """The file that it was read from."""
        return self._path

    def plugin_enabled(self, name: str) -> bool:
        """Whether a plugin is to be used; it is unless `enabled = false` stands in its table."""
        return self.plugin_use(name).enabled

    def plugin_settings(self, name: str) -> dict[str, Any]:
        """The plugin's own keys, as they stand in the file."""
        return {key: value for key, value in self.plugins.get(name, {}).items() if key not in PluginUse.model_fields}

    def plugin_use(self, name: str) -> PluginUse:
        """What the host does with the plugin."""
        return use_of(self.plugins.get(name, {}))
