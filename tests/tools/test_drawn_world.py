"""The drawn world is what the bundled models are tested with: what it says of a picture must be so."""

import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from tools.drawn_world import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_PAIRS,
    PLACES,
    POSITIONS,
    SHAPES,
    SUBJECTS,
    Description,
    Scene,
    all_scenes,
    caption,
    describe,
    draw,
    full_description,
    paint,
    random_icon,
    random_scene,
    random_shape,
    varied_caption,
    write_samples,
    write_scenes,
)
from tools.drawn_world.captions import (
    NUMBERS,
    OTHER_PHRASES,
    OTHER_WORDS,
    PLACE_PHRASES,
    POSITION_PHRASES,
    Claim,
    plural,
)
from tools.drawn_world.palette import INKS

RED_CIRCLE = Scene("circle", "red", "white", position="left")


def reddish_box(picture: Image.Image) -> tuple[int, int, int, int] | None:
    """The bounding box of strongly red pixels."""
    red, green, _ = picture.split()
    return ImageChops.subtract(red, green).point(lambda value: 255 if value > 100 else 0).getbbox()


def share_near(picture: Image.Image, colour: tuple[int, int, int]) -> float:
    """The share of pixels within the drawn colours' jitter of `colour`."""
    pixels = list(picture.get_flattened_data())
    return sum(all(abs(a - b) <= 15 for a, b in zip(pixel, colour, strict=True)) for pixel in pixels) / len(pixels)


@pytest.mark.parametrize("scene", [RED_CIRCLE, Scene("cat", "black", "table", 2), Scene("star", "pink", "black", 4)])
def test_the_same_seed_draws_the_same_pixels(scene: Scene) -> None:
    first, second, other = (draw(scene, random.Random(seed), 96) for seed in (3, 3, 4))
    assert first.tobytes() == second.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("size", [1, 64, 333])
def test_a_picture_has_the_size_asked_for(size: int) -> None:
    picture = draw(Scene("boat", "white", "water"), random.Random(1), size)
    assert (picture.size, picture.mode) == ((size, size), "RGB")


def test_every_subject_in_every_setting_can_be_drawn() -> None:
    pairs = {(scene.subject, scene.setting): scene for scene in all_scenes()}
    assert len(pairs) == len(SHAPES) * len(BACKGROUNDS) + (len(SUBJECTS) - len(SHAPES)) * len(PLACES)
    for scene in pairs.values():
        colours = draw(scene, random.Random(7), 64).getcolors(64 * 64)
        assert colours is not None
        assert len(colours) > 1


@pytest.mark.parametrize("position", POSITIONS)
def test_a_single_shape_lies_where_its_caption_says(position: str) -> None:
    scene = Scene("circle", "red", "white", position=position)
    for seed in range(20):
        box = reddish_box(draw(scene, random.Random(seed), 100))
        assert box is not None
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        horizontal = "left" if x < 40 else "right" if x > 60 else "center"
        vertical = "top" if y < 40 else "bottom" if y > 60 else "center"
        assert {horizontal, vertical} - {"center"} == {position} - {"center"}


@pytest.mark.parametrize("colour", COLOURS)
def test_the_subject_has_the_colour_that_its_caption_names(colour: str) -> None:
    background = next(name for name in BACKGROUNDS if name not in (colour, "beige", "light blue"))
    scene = Scene("square", colour, background, position="center")
    assert share_near(draw(scene, random.Random(5), 64), INKS[colour]) > 0.06


@pytest.mark.parametrize("scene", [Scene("heart", "red", "beige", n) for n in (2, 3, 4)] + [RED_CIRCLE])
def test_there_are_as_many_figures_as_counted_and_none_covers_another(scene: Scene) -> None:
    for seed in range(20):
        _, spots = paint(scene, random.Random(seed), 200)
        assert len(spots) == scene.count
        for index, one in enumerate(spots):
            for other in spots[:index]:
                assert max(abs(one.x - other.x), abs(one.y - other.y)) > 0.9 * (one.radius + other.radius)


def test_figures_stay_on_the_canvas() -> None:
    rng = random.Random(2)
    for _ in range(500):
        _, spots = paint(random_scene(rng), rng, 160)
        assert all(0 < spot.x < 160 and 0 < spot.y < 160 for spot in spots)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("unicorn", "red", "white"), "the subject must be one of circle"),
        (("circle", "mauve", "white"), "the colour must be one of red"),
        (("circle", "red", "grass"), "shapes need a background"),
        (("cat", "red", "white"), "icons a place"),
        (("circle", "red", "white", 5), "at most 4 shapes"),
        (("cat", "red", "grass", 0), "at most 4 shapes"),
        (("circle", "red", "white"), "needs a position"),
        (("circle", "red", "white", 2, "left"), "nothing else has one"),
        (("cat", "red", "grass", 1, "left"), "nothing else has one"),
        (("circle", "white", "white", 1, "left"), "would not be seen"),
        (("cat", "green", "grass"), "would not be seen"),
    ],
)
def test_a_scene_that_cannot_be_drawn_or_seen_is_refused_with_the_reason(
    arguments: tuple[object, ...], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Scene(*arguments)  # type: ignore[arg-type]


def test_all_scenes_are_different_and_so_are_their_captions() -> None:
    scenes = all_scenes()
    assert len(scenes) == len(set(scenes)) == len({caption(scene) for scene in scenes}) == 6624


def test_random_scenes_reach_the_whole_world() -> None:
    rng = random.Random(0)
    scenes = [random_scene(rng) for _ in range(4000)]
    seen = Counter(word for scene in scenes for word in (scene.subject, scene.colour, scene.setting, scene.position))
    assert {*SUBJECTS, *COLOURS, *BACKGROUNDS, *PLACES, *POSITIONS} <= seen.keys()
    assert set(scenes) <= set(all_scenes())
    assert all(random_shape(rng).is_shape and not random_icon(rng).is_shape for _ in range(100))


def test_held_out_pairs_are_in_no_training_scene() -> None:
    rng = random.Random(0)
    trained = {(scene.colour, scene.subject) for scene in (random_scene(rng, "trained") for _ in range(3000))}
    held_out = {(scene.colour, scene.subject) for scene in (random_scene(rng, "held-out") for _ in range(60))}
    assert not trained & HELD_OUT_PAIRS
    assert held_out == HELD_OUT_PAIRS


@pytest.mark.parametrize(
    ("scene", "text"),
    [
        (RED_CIRCLE, "a red circle on the left on a white background"),
        (Scene("cross", "orange", "light blue", 3), "three orange crosses on a light blue background"),
        (Scene("fish", "orange", "water", 2), "two orange fish in the water"),
        (Scene("runner", "orange", "road"), "an orange runner on a road"),
        (Scene("star", "gray", "beige", position="center"), "a gray star in the center on a beige background"),
    ],
)
def test_the_canonical_caption_says_everything_in_good_english(scene: Scene, text: str) -> None:
    assert caption(scene) == text


def test_a_varied_caption_never_names_what_is_not_there() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        scene = random_scene(rng)
        text = f" {varied_caption(scene, rng).rstrip('.')} "
        setting = f"{scene.setting} background" if scene.is_shape else scene.setting
        said = text.replace(f" {setting} ", " ")
        wrong = {*SUBJECTS, *map(plural, SUBJECTS), *COLOURS, *POSITIONS} - {scene.subject, plural(scene.subject)}
        wrong -= {scene.colour, scene.position or ""}
        wrong |= set(NUMBERS) - {NUMBERS[scene.count - 1]}
        assert not wrong & set(said.split()), (text, scene)


def test_varied_captions_vary() -> None:
    rng = random.Random(0)
    assert len({varied_caption(RED_CIRCLE, rng) for _ in range(400)}) > 60


def test_synonyms_stand_for_words_of_this_world() -> None:
    assert OTHER_WORDS.keys() <= {*SUBJECTS, *COLOURS}
    assert OTHER_PHRASES.keys() == {*PLACE_PHRASES.values(), *POSITION_PHRASES.values()}
    for synonyms in OTHER_WORDS.values():
        assert not {*SUBJECTS, *COLOURS} & set(synonyms)


def test_samples_are_written_with_the_truth_about_them(tmp_path: Path) -> None:
    samples = write_samples(tmp_path / "new" / "folder", 12, seed=4, size=48)
    assert [sample.path for sample in samples] == sorted((tmp_path / "new" / "folder").iterdir())
    assert len({sample.caption for sample in samples}) == 12
    for sample in samples:
        assert sample.caption == caption(sample.scene)
        assert sample.scene.colour in sample.path.name
        assert sample.scene.subject in sample.path.name
        with Image.open(sample.path) as picture:
            assert (picture.size, picture.format) == ((48, 48), "PNG")


def test_more_samples_of_a_seed_only_add_to_the_fewer(tmp_path: Path) -> None:
    few, many, other = (
        write_samples(tmp_path / name, count, seed, 32) for name, count, seed in (("a", 3, 1), ("b", 6, 1), ("c", 3, 2))
    )
    assert [sample.path.read_bytes() for sample in few] == [sample.path.read_bytes() for sample in many[:3]]
    assert [sample.caption for sample in few] != [sample.caption for sample in other]


def test_the_same_scene_twice_gives_two_different_pictures(tmp_path: Path) -> None:
    first, second = write_scenes(tmp_path, [RED_CIRCLE, RED_CIRCLE], seed=0, size=32)
    assert first.path.name == "0001-red-circle-left-white.png"
    assert first.path.read_bytes() != second.path.read_bytes()


def test_a_description_is_true_of_its_own_scene() -> None:
    rng = random.Random(6)
    for _ in range(2000):
        scene = random_scene(rng)
        assert describe(scene, rng).is_true_of(scene)
        assert full_description(scene).is_true_of(scene)


@pytest.mark.parametrize(
    ("claims", "scene", "expected"),
    [
        ({("subject", "cat")}, Scene("cat", "black", "table", 2), True),
        ({("subject", "cat"), ("count", 1)}, Scene("cat", "black", "table", 2), False),
        ({("several", True)}, Scene("cat", "black", "table", 2), True),
        ({("colour", "red"), ("position", "left")}, RED_CIRCLE, True),
        ({("colour", "red"), ("position", "right")}, RED_CIRCLE, False),
    ],
)
def test_a_description_is_true_wherever_all_its_claims_hold(claims: set[Claim], scene: Scene, expected: bool) -> None:
    assert Description("", frozenset(claims)).is_true_of(scene) is expected


def test_the_full_description_is_true_of_one_scene_only() -> None:
    scenes = all_scenes()
    assert [scene for scene in scenes if full_description(RED_CIRCLE).is_true_of(scene)] == [RED_CIRCLE]
