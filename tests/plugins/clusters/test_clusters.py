"""Vectors in groups, by the plugin itself; the pictures of its sheets are in the end-to-end test."""

from __future__ import annotations

from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from hooks import Artifact, BadInput, Grouping, Task
from plugins.clusters import clusters
from plugins.clusters.clusters import ClustersSettings


def heaps(count: int, each: int, dimensions: int = 48, width: float = 0.02, seed: int = 0) -> np.ndarray:
    """Unit vectors around so many centres, one heap after the other."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(count, dimensions))
    vectors = np.repeat(centres, each, axis=0) + rng.normal(size=(count * each, dimensions)) * width
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def group(tmp_path):
    def grouped(vectors, settings=None, known: Grouping | None = None) -> Grouping:
        files = [tmp_path / "vectors", tmp_path / "centres"]
        files[0].write_bytes(vectors.astype(np.float32).tobytes())
        values = {"dimensions": vectors.shape[1], "count": len(vectors)}
        if known is not None:
            files[1].write_bytes(known.centres)
            values["reaches"] = list(known.reaches)
        (found,) = clusters.perform(
            Task(name="group", values=values, files=tuple(files)), settings or ClustersSettings(), None
        )
        assert isinstance(found, Grouping)
        return found

    return grouped


def test_heaps_are_groups_and_the_same_vectors_give_the_same_groups(group):
    vectors = heaps(6, 20)
    found = group(vectors)
    assert [len(set(found.groups[start : start + 20])) for start in range(0, 120, 20)] == [1] * 6
    assert len(set(found.groups)) == 6
    assert group(vectors) == found
    centres = np.frombuffer(found.centres, np.float32).reshape(6, 48)
    assert np.linalg.norm(centres, axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    assert min(found.scores) > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_what_is_evenly_dense_is_one_group(group, seed):
    found = group(heaps(3, 20, seed=seed))
    heaped = [Counter(found.groups[start : start + 20]).most_common(1)[0] for start in (0, 20, 40)]
    assert sorted(number for number, _ in heaped) == [0, 1, 2]
    assert min(size for _, size in heaped) >= 18
    assert len(found.reaches) == 3


def test_new_vectors_join_what_they_are_like_and_others_stay_outside(group):
    known = group(heaps(6, 20))
    new = np.concatenate([heaps(6, 2, seed=1), -heaps(6, 1)])
    found = group(new, known=known)
    centres = [known.groups[start] for start in range(0, 120, 20)]
    assert list(found.groups) == [group for group in centres for _ in range(2)] + [-1] * 6
    assert found.scores[-6:] == (0,) * 6
    assert found.centres == known.centres


def test_of_very_many_a_sample_is_grouped_and_the_others_join(group):
    found = group(heaps(4, 200), ClustersSettings(most=200))
    assert len(found.reaches) == 4
    assert sum(one >= 0 for one in found.groups) >= 760


def test_vectors_that_are_no_numbers_are_in_no_group(group):
    vectors = heaps(3, 20)
    vectors[5, 3], vectors[25] = np.nan, np.inf
    found = group(vectors)
    assert [found.groups[5], found.groups[25]] == [-1, -1]
    assert len(found.reaches) == 3


@pytest.mark.parametrize("count", [0, 1, 4])
def test_few_vectors_are_no_group(group, count):
    found = group(heaps(1, 20)[:count])
    assert (found.groups, found.reaches, found.centres) == ((-1,) * count, (), b"")


def test_a_file_that_does_not_hold_such_vectors_is_refused(tmp_path):
    (tmp_path / "odd").write_bytes(bytes(20))
    task = Task(name="group", values={"dimensions": 4}, files=(tmp_path / "odd",))
    with pytest.raises(BadInput, match="no vectors of 4"):
        list(clusters.perform(task, ClustersSettings(), None))


def test_a_sheet_shows_a_gap_for_a_picture_that_cannot_be_opened(tmp_path):
    good, bad = tmp_path / "good.webp", tmp_path / "bad.png"
    Image.new("RGB", (40, 90), "red").save(good)
    bad.write_bytes(b"\x89PNG nothing")
    values = {"title": "things", "facts": "", "captions": ["good"]}
    task = Task(name="contact_sheet", values=values, files=(good, bad, tmp_path / "gone.png"))
    (sheet,) = clusters.perform(task, ClustersSettings(sheet_width=640, sheet_columns=3), None)
    assert isinstance(sheet, Artifact)
    picture = Image.open(BytesIO(sheet.content))
    assert (picture.format, picture.width) == ("JPEG", 640)
    reds = sum(
        count for count, pixel in picture.convert("RGB").getcolors(10**6) if pixel[0] > 220 and max(pixel[1:]) < 40
    )
    assert reds > 500
