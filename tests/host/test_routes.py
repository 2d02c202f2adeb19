"""Which plugin gets which event: the hooks that it implements, narrowed by routes."""

from __future__ import annotations

from host.config import Route
from host.routes import Routes

PLUGINS = {
    "clip": frozenset({"on_image"}),
    "reader": frozenset({"on_image", "on_document"}),
    "words": frozenset({"on_text"}),
}


def plugins_for(*routes, kind="image", media_type="image/png", source="inbox", origin="a/b/cat.png"):
    return Routes(routes, PLUGINS).plugins_for(kind, media_type, source, origin)


def test_without_routes_the_hooks_decide():
    assert plugins_for() == ["clip", "reader"]
    assert plugins_for(kind="document", media_type="application/pdf") == ["reader"]
    assert plugins_for(kind="audio", media_type="audio/mpeg") == []


def test_a_route_narrows_its_plugin_and_no_other():
    assert plugins_for(Route(plugin="clip", media_types=("image/jpeg",))) == ["reader"]
    assert plugins_for(Route(plugin="clip", media_types=("image/*",))) == ["clip", "reader"]


def test_a_route_never_gives_a_plugin_what_it_has_no_hook_for():
    assert plugins_for(Route(plugin="words")) == ["clip", "reader"]


def test_a_plugin_that_takes_some_media_types_gets_no_others_whatever_routes_say():
    for rules in ((), (Route(plugin="reader"),)):
        routes = Routes(rules, PLUGINS, media_types={"reader": ("image/tiff", "application/*")})
        assert routes.plugins_for("image", "image/png", "inbox", "a") == ["clip"]
        assert routes.plugins_for("image", "image/tiff", "inbox", "a") == ["clip", "reader"]
        assert routes.plugins_for("document", "application/pdf", "inbox", "a") == ["reader"]


def test_of_several_routes_one_match_is_enough():
    routes = (Route(plugin="clip", sources=("camera",)), Route(plugin="clip", folders=("a",)))
    assert plugins_for(*routes) == ["clip", "reader"]
    assert plugins_for(*routes, origin="z/cat.png") == ["reader"]
    assert plugins_for(*routes, origin="z/cat.png", source="camera") == ["clip", "reader"]


def test_everything_that_a_route_says_must_match():
    route = Route(plugin="clip", sources=("inbox",), kinds=("document",))
    assert plugins_for(route) == ["reader"]


def test_a_disabled_route_takes_away():
    assert plugins_for(Route(plugin="clip", enabled=False)) == ["reader"]
    assert plugins_for(Route(plugin="*", folders=("a/b",), enabled=False)) == []
    assert plugins_for(Route(plugin="*", folders=("other",), enabled=False)) == ["clip", "reader"]


def test_a_disabled_route_is_stronger_than_one_that_allows():
    routes = (Route(plugin="clip", kinds=("image",)), Route(plugin="*", folders=("a",), enabled=False))
    assert plugins_for(*routes) == []


def test_a_folder_means_all_that_lies_in_it():
    for pattern in ("a", "a/b", "*/b", "a/b/cat.png", "*.png"):
        assert "clip" in plugins_for(Route(plugin="clip", folders=(pattern,))), pattern
    for pattern in ("b", "cat.png", "a/bb", "A"):
        assert "clip" not in plugins_for(Route(plugin="clip", folders=(pattern,))), pattern


def test_a_star_route_narrows_all_plugins():
    assert plugins_for(Route(plugin="*", sources=("camera",))) == []
    assert plugins_for(Route(plugin="*", sources=("inbox",))) == ["clip", "reader"]


def is_background(*routes, plugin="clip", background=(), origin="a/b/cat.png"):
    return Routes(routes, PLUGINS, background).is_background(plugin, "image", "image/png", "inbox", origin)


def test_work_is_background_work_where_a_route_or_the_plugin_says_so():
    assert not is_background()
    assert is_background(background={"clip"})
    assert is_background(Route(plugin="clip", folders=("a",), priority="background"))
    assert is_background(Route(plugin="*", priority="background"))
    assert not is_background(Route(plugin="clip", folders=("z",), priority="background"))


def test_the_first_route_that_states_a_priority_counts_and_more_than_the_plugin():
    routes = (Route(folders=("a",), priority="normal"), Route(priority="background"))
    assert not is_background(*routes, background={"clip"})
    assert is_background(*routes, origin="z/cat.png")


def test_a_route_that_states_a_priority_narrows_nothing():
    assert plugins_for(Route(plugin="clip", folders=("z",), priority="background")) == ["clip", "reader"]
    narrow = Route(plugin="clip", folders=("z",))
    assert plugins_for(narrow, Route(plugin="clip", folders=("a",), priority="background")) == ["reader"]


def test_a_plugin_by_route_gets_only_what_a_route_of_its_own_matches():
    def wanted(*routes: Route, origin: str = "speak/note.txt") -> list[str]:
        found = Routes(routes, PLUGINS, by_route={"words"})
        return found.plugins_for("text", "text/plain", "inbox", origin)

    mine = Route(plugin="words", folders=("speak",))
    assert wanted() == []
    assert wanted(Route(kinds=("text",))) == []
    assert wanted(Route(plugin="words", priority="background")) == []
    assert wanted(mine) == ["words"]
    assert wanted(mine, origin="speak/deep/down/note.txt") == ["words"]
    assert wanted(mine, origin="elsewhere/speak/note.txt") == []
    assert wanted(mine, Route(folders=("speak",), enabled=False)) == []
