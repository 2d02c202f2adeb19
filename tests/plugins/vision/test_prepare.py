"""Pictures are brought within a model's limits, and enhancement does what its name says and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from hooks import BadInput
from host.cli import build, extensions
from plugins.vision import prepare
from plugins.vision.enhance import Contrast, Exposure, Lab, enhanced
from plugins.vision.prepare import Limits, Prepared


def ramp(low: int = 0, high: int = 255, size: tuple[int, int] = (256, 64)) -> Image.Image:
    """Grey from left to right."""
    row = np.linspace(low, high, size[0]).astype(np.uint8)
    return Image.fromarray(np.repeat(np.repeat(row[None, :, None], size[1], 0), 3, 2))


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=int)


# -- size and bytes --------------------------------------------------------------------------------------------------


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(32, 2048))
def test_a_picture_keeps_its_shape_and_is_never_enlarged(width, height, longest):
    made = prepare.prepared(Image.new("RGB", (width, height)), Limits(longest_side=longest))
    assert max(made.width, made.height) == min(longest, max(width, height))
    assert abs(made.width - made.scale * width) <= 1
    assert abs(made.height - made.scale * height) <= 1


def test_a_picture_that_must_be_square_is_padded_and_not_stretched():
    made = prepare.opened(prepare.prepared(ramp(255, 255, (300, 100)), Limits(square=True, format="png")))
    assert made.size == (300, 300)
    assert (pixels(made)[150] == 255).all()
    assert (pixels(made)[20] == prepare.PADDING).all()


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_a_budget_of_bytes_is_kept(form):
    made = prepare.prepared(noise((800, 600)), Limits(format=form, max_bytes=60_000))
    assert len(made.content) <= 60_000
    assert prepare.opened(made).size == (made.width, made.height)
    assert made.width / made.height == pytest.approx(800 / 600, rel=0.02)


def test_quality_is_given_up_before_pixels():
    whole = prepare.prepared(noise((400, 300)), Limits())
    smaller = prepare.prepared(noise((400, 300)), Limits(max_bytes=len(whole.content) - 1))
    assert (smaller.width, smaller.height) == (400, 300)
    assert len(smaller.content) < len(whole.content)


# -- batches ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 4000), st.integers(1, 4000)), max_size=30), st.integers(1, 5))
def test_batches_hold_every_picture_once_small_ones_first_within_the_room(sizes, most):
    pictures = [Prepared(b"", "image/png", width, height, 1.0) for width, height in sizes]
    groups = list(prepare.batches(pictures, room_mb=1500, most=most))
    flat = [one for group in groups for one in group]
    assert sorted(map(id, flat)) == sorted(map(id, pictures))
    areas = [one.width * one.height for one in flat]
    assert areas == sorted(areas)
    for group in groups:
        assert len(group) <= most
        assert len(group) == 1 or sum(one.memory_mb for one in group) <= 1500


# -- enhancement -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 50))
def test_factors_of_one_change_nothing(seed):
    picture = noise((40, 30), seed)
    same = Lab(lightness=1, color=1).apply(picture)
    assert abs(pixels(same) - pixels(picture)).max() <= 1
    assert (pixels(Exposure(strength=0).apply(picture)) == pixels(picture)).all()


def test_lightness_makes_grey_lighter_and_leaves_it_grey():
    made = pixels(Lab(lightness=1.2, color=1).apply(ramp(40, 200)))
    assert (made[0, :, 1] > pixels(ramp(40, 200))[0, :, 1]).all()
    assert np.ptp(made, axis=2).max() <= 1


def test_lightness_is_that_of_cielab():
    """Grey 119 is L* = 50: times 1.2 it is 60, which is grey 145."""
    made = pixels(Lab(lightness=1.2, color=1).apply(Image.new("RGB", (4, 4), (119, 119, 119))))
    assert abs(made - 145).max() <= 1


def test_color_makes_colors_stronger_and_leaves_grey_alone():
    red = pixels(Lab(lightness=1, color=1.5).apply(Image.new("RGB", (4, 4), (150, 110, 110))))[0, 0]
    assert red[0] > 150
    assert red[1] < 110
    assert abs(pixels(Lab(lightness=1, color=1.5).apply(ramp())) - pixels(ramp())).max() <= 1


def test_dark_and_light_pictures_gain_contrast_and_others_only_range():
    for low, high in ((20, 90), (180, 240), (100, 150)):
        made = pixels(Contrast(cutoff=0).apply(ramp(low, high)))
        assert made.min() <= 2
        assert made.max() >= 253


def test_exposure_lifts_what_is_dark_and_dims_what_is_bright():
    picture = Image.new("RGB", (200, 100), (40, 40, 40))
    picture.paste((225, 225, 225), (100, 0, 200, 100))
    made = pixels(Exposure(strength=1).apply(picture))
    assert made[50, 20, 0] > 40
    assert made[50, 180, 0] < 225
    assert made[50, 20, 0] < made[50, 180, 0]


def test_exposure_keeps_the_order_of_greys():
    made = pixels(Exposure(strength=1).apply(ramp(0, 255, (256, 2))))[0, :, 0]
    assert (np.diff(made) >= 0).all()


def test_large_pictures_are_worked_on_in_strips_that_do_not_show():
    tall = ramp(0, 255, (2000, 1200))
    made = pixels(Lab().apply(tall))
    assert (made == made[:1]).all()


def test_steps_are_taken_in_their_order():
    picture = noise((40, 30))
    one = enhanced(picture, [Contrast(), Lab()])
    assert (pixels(one) == pixels(Lab().apply(Contrast().apply(picture)))).all()


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """The command line, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    extensions.plugin_commands.cache_clear()
    yield lambda *words: CliRunner().invoke(build(), words, prog_name="sensorium")
    extensions.plugin_commands.cache_clear()


def test_the_command_shows_both_side_by_side(cli, tmp_path):
    ramp(20, 90).save(tmp_path / "dark.png")
    said = cli(
        "prepare", str(tmp_path / "dark.png"), "--enhance", "contrast:dark=1.6", "--out", str(tmp_path / "o.png")
    )
    assert said.exit_code == 0, said.outputput
    assert "256 x 64 pixels" in said.output
    with Image.open(tmp_path / "o.png") as both:
        assert both.size == (516, 64)
        shown = pixels(both.convert("RGB"))
    assert shown[:, :256].max() <= 90 < 200 < shown[:, 260:].max()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--enhance", "magic"), "There is no enhancement 'magic'"),
        (("--enhance", "lab:light=2"), "lab knows lightness, color"),
        (("--out", "{here}/dark.png"), "is the picture itself"),
        (("--out", "{here}/none/x.png"), "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(cli, tmp_path, arguments, said):
    ramp().save(tmp_path / "dark.png")
    done = cli("prepare", str(tmp_path / "dark.png"), *(one.format(here=tmp_path) for one in arguments))
    assert done.exit_code == 1
    assert said in " ".join(done.output.split())


def test_what_is_no_picture_is_refused(cli, tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    done = cli("prepare", str(tmp_path / "a.png"), "--out", str(tmp_path / "o.png"))
    assert done.exit_code == 1
    assert "No format of pictures" in " ".join(done.output.split())


def test_a_budget_that_nothing_fits_is_refused():
    with pytest.raises(BadInput, match="cannot be encoded"):
        prepare.prepared(noise((4000, 40)), Limits(format="png", max_bytes=10_000).model_copy(update={"max_bytes": 50}))
