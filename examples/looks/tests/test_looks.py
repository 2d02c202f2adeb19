"""What looks alike is near, whatever the batch, and memory that runs out is stepped around."""

from array import array

import pytest
from PIL import Image, ImageDraw

from hooks.testing import run_plugin


def drawn(path, ground, ink, step, shift=0):
    """Stripes."""
    picture = Image.new("RGB", (200, 160), ground)
    pen = ImageDraw.Draw(picture)
    for x in range(shift, 200, step):
        pen.line((x, 0, x, 160), fill=ink, width=4)
    picture.save(path)
    return path


@pytest.fixture
def pictures(tmp_path):
    stripes = drawn(tmp_path / "stripes.png", "white", "navy", 16)
    alike = drawn(tmp_path / "alike.png", "white", "darkblue", 16, shift=5)
    other = drawn(tmp_path / "other.png", "darkred", "yellow", 50)
    return [stripes, alike, other]


def cosine(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_what_looks_alike_is_near_also_with_less_memory_than_the_model_wants(pictures, events, lease):
    lease.memory_mb = 700  # its first variant is what runs
    torn = events.image(content=b"\x89PNG\r\n\x1a\ntorn")
    run = run_plugin("looks", *pictures, torn, lease=lease)
    assert lease.steps == ["variant one at a time"]
    assert run.failures[torn.id].startswith("It cannot be opened:")
    stripes, alike, other = (array("f", given.blob) for given in run.results)
    assert cosine(stripes, stripes) == pytest.approx(1, abs=1e-5)
    assert cosine(stripes, alike) > cosine(stripes, other) + 0.02


def test_in_a_host_its_results_say_which_model_made_them(pictures, host):
    host.use("looks", side=64, batch=2)
    for picture in pictures:
        host.drop(picture)
    found = host.run()
    assert len(found) == 3
    for sidecar in found.values():
        (result,) = sidecar["results"]
        assert result["data"] == {"space": "looks-4711-64"}
        assert result["provenance"]["model"] == "looks-4711"
