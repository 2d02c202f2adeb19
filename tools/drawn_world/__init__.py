"""A small world that can be drawn and named exactly: coloured shapes and icons in simple places.

The bundled models are trained on its pictures, so whatever they answer can be checked. Needs Pillow only.
"""

from tools.drawn_world.captions import (
    PLACE_PHRASES,
    POSITION_PHRASES,
    Description,
    background_phrase,
    caption,
    counted_phrase,
    describe,
    full_description,
    plural,
    varied_caption,
    with_article,
)
from tools.drawn_world.drawing import draw, paint
from tools.drawn_world.samples import Sample, write_samples, write_scenes
from tools.drawn_world.scene import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_PAIRS,
    ICONS,
    PLACES,
    POSITIONS,
    SETTINGS,
    SHAPES,
    SUBJECTS,
    Scene,
    all_scenes,
    random_icon,
    random_scene,
    random_shape,
)

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "HELD_OUT_PAIRS",
    "ICONS",
    "PLACES",
    "PLACE_PHRASES",
    "POSITIONS",
    "POSITION_PHRASES",
    "SETTINGS",
    "SHAPES",
    "SUBJECTS",
    "Description",
    "Sample",
    "Scene",
    "all_scenes",
    "background_phrase",
    "caption",
    "counted_phrase",
    "describe",
    "draw",
    "full_description",
    "paint",
    "plural",
    "random_icon",
    "random_scene",
    "random_shape",
    "varied_caption",
    "with_article",
    "write_samples",
    "write_scenes",
]
