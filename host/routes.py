"""Which plugins get which events: the hooks that a plugin implements decide, routes narrow that."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from fnmatch import fnmatch

from hooks.events import FINISH, hook_of
from host.config import Route
from host.journal import Row


class Routes:
    """The routes of the configuration, over the enabled plugins and the hooks that each implements."""

    def __init__(
        self,
        routes: Iterable[Route],
        hooks_of_plugin: dict[str, frozenset[str]],
        background: Container[str] = (),
        media_types: Mapping[str, tuple[str, ...]] | None = None,
        sinks: Iterable[str] = (),
        is_off: Callable[[str], bool] = lambda plugin: False,
        reads: Mapping[str, tuple[str, ...]] | None = None,
        by_route: Container[str] = (),
    ) -> None:
        """`background` names the plugins whose jobs are all background jobs, unless a route says otherwise.

        `media_types` are the patterns of plugins that work on no other events of their kinds; `by_route` names those
        that get only what a route of their own matches. `sinks` are the plugins that are told of what is finished.
        `is_off` is asked each time whether a plugin gets anything at all. `reads` are the types of results whose text
        plugins read.
        """
        self._routes = tuple(routes)
        self._hooks = hooks_of_plugin
        self._background = background
        self._media_types = media_types or {}
        self._sinks = tuple(sinks)
        self._is_off = is_off
        self._reads = reads or {}
        self._by_route = by_route

    def plugins_for(self, kind: str, media_type: str, source: str, origin: str) -> list[str]:
        """The plugins that work on such an event, in the order in which they were found."""
        hook = hook_of(kind)
        return [
            plugin
            for plugin, hooks in self._hooks.items()
            if hook in hooks and self._wants(plugin, kind, media_type, source, origin)
        ]

    def finishers_for(self, kind: str, media_type: str, source: str, origin: str) -> list[str]:
        """The plugins that say one thing of such an event and all that was derived from it."""
        return [
            plugin
            for plugin, hooks in self._hooks.items()
            if FINISH in hooks and self._wants(plugin, kind, media_type, source, origin)
        ]

    def sinks_for(self, kind: str, media_type: str, source: str, origin: str) -> list[str]:
        """The plugins that are told of such an event once it is finished."""
        return [plugin for plugin in self._sinks if self._wants(plugin, kind, media_type, source, origin)]

    def sinks_of_event(self, event: Row) -> list[str]:
        """The same, by the event's row."""
        return self.sinks_for(event["kind"], event["media_type"], event["source"], event["origin"])

    def readers_of(self, result: str, kind: str, media_type: str, source: str, origin: str) -> list[str]:
        """The plugins that read the text of such a result of such an event: those that do not work on it themselves."""
        about = (kind, media_type, source, origin)
        return [
            plugin
            for plugin in self._hooks
            if self.only_reads(plugin, kind) and self._reads_type(plugin, result, about) and self._wants(plugin, *about)
        ]

    def only_reads(self, plugin: str, kind: str) -> bool:
        """Whether a plugin can work on an event of a kind by the text alone that others found in it."""
        hooks = self._hooks.get(plugin, frozenset())
        return hook_of("text") in hooks and hook_of(kind) not in hooks

    def _reads_type(self, plugin: str, result: str, about: tuple[str, str, str, str]) -> bool:
        """By the plugin's own word, or by the routes that name types of results for it."""
        telling = [route for route in self._routes if route.results and route.plugin in (plugin, "*")]
        if not telling:
            return result in self._reads.get(plugin, ())
        return any(result in route.results and _matches(route, *about) for route in telling)

    def is_background(self, plugin: str, kind: str, media_type: str, source: str, origin: str) -> bool:
        """Whether a plugin's work on such an event waits for all that is not background: the first route that says."""
        for route in self._routes:
            if route.priority and route.plugin in (plugin, "*") and _matches(route, kind, media_type, source, origin):
                return route.priority == "background"
        return plugin in self._background

    def _wants(self, plugin: str, kind: str, media_type: str, source: str, origin: str) -> bool:
        if self._is_off(plugin) or not _any_match(self._media_types.get(plugin, ()), media_type):
            return False
        if not self._routes:
            return plugin not in self._by_route
        mine = [route for route in self._routes if route.plugin in (plugin, "*")]
        matching = [route for route in mine if _matches(route, kind, media_type, source, origin)]
        if any(not route.enabled for route in matching):
            return False
        narrowing = [route for route in mine if route.enabled and not route.priority and not route.results]
        if plugin in self._by_route:
            return any(route in narrowing and route.plugin == plugin for route in matching)
        return any(route in narrowing for route in matching) or not narrowing


def _matches(route: Route, kind: str, media_type: str, source: str, origin: str) -> bool:
    return (
        (not route.kinds or kind in route.kinds)
        and (not route.sources or source in route.sources)
        and _any_match(route.media_types, media_type)
        and _any_match(route.folders, origin)
    )


def _any_match(patterns: tuple[str, ...], value: str) -> bool:
    return not patterns or any(fnmatch(value, pattern) or fnmatch(value, f"{pattern}/*") for pattern in patterns)
