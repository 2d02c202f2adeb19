"""Takes in the episodes of podcasts: files that an RSS feed names as enclosures (https://www.rssboard.org)."""

from __future__ import annotations

import shutil
import urllib.request
from collections.abc import Generator, Iterator
from http.client import HTTPResponse
from pathlib import PurePosixPath
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

from pydantic import BaseModel, ConfigDict, Field

from hooks import Arrival, Source, SourceContext, hookimpl

api = ">=1,<2"
optional = True  # off as long as no feed is named
FEED_LIMIT = 10_000_000  # bytes


class Settings(BaseModel):
    """What may be set in [plugins.podcast]."""

    model_config = ConfigDict(extra="forbid")

    feeds: dict[str, str] = Field(description='Addresses of feeds by name, as {history = "https://…/feed.xml"}.')
    every: float = Field(3600, ge=1, description="Seconds between two looks at a feed.")
    newest: int = Field(5, ge=1, description="How many episodes of a feed are wanted.")
    max_mb: int = Field(500, ge=1, description="Larger episodes are left out.")


@hookimpl
def settings_class() -> type[BaseModel]:
    return Settings


@hookimpl
def register_sources(settings: Settings) -> list[Source]:
    return [Source(name=name, every=settings.every, time_limit=3600) for name in settings.feeds]


@hookimpl
def read_source(source: Source, settings: Settings, context: SourceContext) -> Generator[Arrival, str, None]:
    feed = settings.feeds[source.name]
    with opened(feed) as answer:
        root = ElementTree.fromstring(answer.read(FEED_LIMIT))
    for title, episode in list(episodes(root, feed))[: settings.newest]:
        if context.is_taken(episode):
            continue
        with opened(episode) as answer:
            if int(answer.headers.get("content-length") or 0) > settings.max_mb * 1_000_000:
                continue
            path = context.scratch / f"episode{PurePosixPath(urlsplit(episode).path).suffix[:10]}"
            with path.open("wb") as file:
                shutil.copyfileobj(answer, file)
        yield Arrival(path=path, origin=episode, tags=(source.name,), metadata={"title": title, "feed": feed})


def episodes(root: ElementTree.Element, feed: str) -> Iterator[tuple[str, str]]:
    """Title and address of each episode, in the order of the feed."""
    for item in root.iter("item"):
        enclosure = item.find("enclosure")
        if enclosure is not None and enclosure.get("url"):
            yield " ".join((item.findtext("title") or "").split()), urljoin(feed, enclosure.get("url"))


def opened(address: str) -> HTTPResponse:
    """What lies at an address of the web, and nowhere else: urllib would open files of this machine, too."""
    if urlsplit(address).scheme not in ("http", "https"):
        raise ValueError(f"{address} is no address of the web")
    answer: HTTPResponse = urllib.request.urlopen(address, timeout=60)
    return answer
