"""CLIP gives vectors and names, in one space with texts, from whichever weights the settings mean."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from hooks import Embedding, Failure, Labels, ModelUnavailable, Result
from plugins.vision import clip, clip_catalog
from plugins.vision.clip import ClipSettings
from plugins.vision.clip_catalog import WEIGHTS
from tests.plugin_kit import python_path
from tests.worker_client import CPU, WorkerClient, image_event
from tools.drawn_world import Sample, Scene, write_samples, write_scenes

TINY = clip_catalog.HERE / "tiny" / "clip"
SCENES = [
    Scene("circle", "red", "white", position="left"),
    Scene("square", "blue", "white", position="right"),
    Scene("star", "yellow", "black", position="center"),
    Scene("cat", "black", "table"),
    Scene("boat", "white", "water"),
    Scene("tree", "green", "snow"),
]


@pytest.fixture(scope="module")
def tiny():
    """The bundled model as it is by default."""
    return clip.load(device=CPU, settings=ClipSettings())


@pytest.fixture
def drawings(tmp_path: Path) -> list[Sample]:
    return write_scenes(tmp_path / "drawings", SCENES, seed=1)


def look(model, paths: list[Path], **settings) -> list[Result | Failure]:
    return list(clip.on_image([image_event(path) for path in paths], model, ClipSettings(**settings)))


def vector(embedding: Embedding) -> np.ndarray:
    return np.frombuffer(embedding.vector, np.float32)


def vectors(findings: list) -> np.ndarray:
    return np.stack([vector(found.data) for found in findings if isinstance(found.data, Embedding)])


def unavailable(**settings) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        clip.load(device=CPU, settings=ClipSettings(**settings))
    return str(caught.value)


# --- what is found ---


def test_each_picture_gives_a_unit_vector_and_the_best_names(tiny, drawings):
    findings = look(tiny, [drawing.path for drawing in drawings])
    assert [type(found.data) for found in findings] == [Embedding, Labels] * len(drawings)
    assert np.linalg.norm(vectors(findings), axis=1) == pytest.approx(1, abs=1e-5)
    for found in findings[1::2]:
        scores = [label.score for label in found.data.labels]
        assert len(scores) == 5
        assert scores == sorted(scores, reverse=True)
        assert 0 < sum(scores) <= 1.001


def test_pictures_and_texts_share_a_space_that_names_model_and_weights(tiny, drawings):
    spaces = {found.data.space for found in look(tiny, [drawings[0].path])}
    spaces |= {embedding.space for embedding in clip.embed_query(["a cat"], tiny)}
    digest = (TINY / "SHA256SUMS").read_text().split(f"  {WEIGHTS}")[0].split()[-1]
    assert spaces == {f"tiny/bundled@{digest[:8]}"}


def test_a_text_finds_the_picture_that_it_describes(tiny, tmp_path):
    drawings = write_samples(tmp_path, 40, seed=11)
    pictures = vectors(look(tiny, [drawing.path for drawing in drawings]))
    texts = np.stack([vector(found) for found in clip.embed_query([drawing.caption for drawing in drawings], tiny)])
    found = (texts @ pictures.T).argmax(axis=1)
    assert (found == np.arange(40)).mean() >= 0.9


def test_the_bundled_model_names_most_of_what_is_drawn(tiny, drawings):
    findings = look(tiny, [drawing.path for drawing in drawings])
    best = [found.data.labels[0].name for found in findings[1::2]]
    wanted = [f"{scene.colour} {scene.subject}" for scene in SCENES]
    assert sum(a == b for a, b in zip(best, wanted, strict=True)) >= 5


def test_names_and_their_template_can_be_chosen(drawings):
    names = ("a red circle", "a blue square", "{odd} name")
    settings = ClipSettings(labels=names, template="there is {}", top=2)
    model = clip.load(device=CPU, settings=settings)
    labels = list(clip.on_image([image_event(drawings[0].path)], model, settings))[1].data.labels
    assert labels[0].name == "a red circle"
    assert len(labels) == 2
    assert {label.name for label in labels} <= set(names)


@pytest.mark.parametrize("settings", [{"top": 0}, {"labels": ()}])
def test_names_can_be_left_out(drawings, settings):
    chosen = ClipSettings(**settings)
    model = clip.load(device=CPU, settings=chosen)
    (found,) = clip.on_image([image_event(drawings[0].path)], model, chosen)
    assert isinstance(found.data, Embedding)


def test_a_broken_picture_spoils_none_of_its_batch(tiny, drawings, tmp_path):
    broken, none = tmp_path / "broken.png", tmp_path / "none.txt"
    broken.write_bytes(drawings[0].path.read_bytes()[:300])
    none.write_text("no picture")
    good = [drawing.path for drawing in drawings]
    paths = [broken, *good * 3, none, good[0], broken]  # more than are decoded together
    findings = look(tiny, paths, top=0)
    assert [isinstance(found, Failure) for found in findings] == [path in (broken, none) for path in paths]
    assert [found.event_id for found in findings] == [path.name for path in paths]
    assert "cannot be decoded" in findings[0].reason


def test_a_batch_of_broken_pictures_is_a_batch_of_verdicts(tiny, tmp_path):
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        path.write_text("no picture")
    assert [type(found) for found in look(tiny, paths)] == [Failure, Failure]


def test_no_pictures_give_nothing(tiny):
    assert look(tiny, []) == []


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (1, 1)])
def test_the_shape_of_a_picture_cannot_blow_up_its_copy(tiny, tmp_path, monkeypatch, size):
    scaled, scale = [], tiny._transform
    monkeypatch.setattr(tiny, "_transform", lambda pixels: scaled.append(pixels.size) or scale(pixels))
    Image.new("RGB", size, "red").save(tmp_path / "strip.png")
    assert vectors(look(tiny, [tmp_path / "strip.png"], top=0)).shape == (1, 128)
    assert max(scaled[0]) <= 16 * min(scaled[0])


def test_too_large_a_picture_is_refused_by_its_header(tiny, drawings):
    (failure,) = look(tiny, [drawings[0].path], max_megapixels=0.01)
    assert "at most 0.0 are opened" in failure.reason


def test_the_same_picture_has_nearly_the_same_vector_in_any_size_and_format(tiny, drawings, tmp_path):
    with Image.open(drawings[0].path) as image:
        image.resize((1500, 1500)).save(tmp_path / "large.jpg")
    one, other = vectors(look(tiny, [drawings[0].path, tmp_path / "large.jpg"], top=0))
    assert one @ other > 0.95


@pytest.mark.parametrize("texts", [[], ["a cat"], ["", "word " * 500, "<end_of_text>", "\n\0 ✓ ü"], ["a"] * 130])
def test_texts_of_any_kind_have_unit_vectors(tiny, texts):
    found = clip.embed_query(texts, tiny)
    assert len(found) == len(texts)
    for embedding in found:
        assert np.linalg.norm(vector(embedding)) == pytest.approx(1, abs=1e-5)


# --- which weights ---


def test_random_weights_are_the_same_each_time_and_say_that_they_are_random(drawings):
    settings = ClipSettings(pretrained="", top=0)
    paths = [drawing.path for drawing in drawings[:2]]
    first = look(clip.load(device=CPU, settings=settings), paths, top=0)
    again = look(clip.load(device=CPU, settings=settings), paths, top=0)
    assert first[0].data.space == "tiny/random"
    assert (vectors(first) == vectors(again)).all()


def test_the_large_model_is_loaded_by_the_same_code_and_has_the_dimensions_of_the_catalog(drawings):
    settings = ClipSettings(model="ViT-B-32", pretrained="", labels=())
    found = look(clip.load(device=CPU, settings=settings), [drawing.path for drawing in drawings])
    assert found[0].data.space == "ViT-B-32/random"
    assert vectors(found).shape == (len(drawings), clip_catalog.catalog()["ViT-B-32"].dimensions)


def test_weights_in_a_file_of_ones_own_give_the_vectors_of_these_weights(tiny, drawings, tmp_path):
    import open_clip

    config = json.loads((TINY / "open_clip_config.json").read_text())["model_cfg"]
    (tmp_path / "own.json").write_text(json.dumps(config))
    (tmp_path / "own.safetensors").write_bytes((TINY / WEIGHTS).read_bytes())
    open_clip.add_model_config(tmp_path / "own.json")
    settings = ClipSettings(model="own", pretrained=str(tmp_path / "own.safetensors"), labels=())
    paths = [drawing.path for drawing in drawings]
    own = look(clip.load(device=CPU, settings=settings), paths)
    assert own[0].data.space == tiny.space.replace("tiny/bundled", "own/file")
    assert np.allclose(vectors(own), vectors(look(tiny, paths, top=0)), atol=1e-6)


def test_a_folder_of_ones_own_is_a_model(tiny, drawings, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("open_clip_config.json", WEIGHTS, "bpe.txt.gz"):
        (folder / name).write_bytes((TINY / name).read_bytes())
    settings = ClipSettings(model=str(folder))
    assert clip.model_spec(settings).files == (folder / WEIGHTS,)
    model = clip.load(device=CPU, settings=settings)
    assert model.space == tiny.space.replace("tiny/bundled", "mine/folder")
    (text,), (theirs,) = clip.embed_query(["a cat"], model), clip.embed_query(["a cat"], tiny)
    assert text.vector == theirs.vector
    assert "a dog" in model.names


def test_a_tower_of_a_library_that_was_postponed_is_built_when_asked_for(drawings, tmp_path):
    import open_clip

    vision = {"timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear"}
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": 24, "vision_cfg": vision | {"image_size": 160}, "text_cfg": text}
    (tmp_path / "timm-tower.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "timm-tower.json")
    settings = ClipSettings(model="timm-tower", pretrained="", labels=())
    found = look(clip.load(device=CPU, settings=settings), [drawing.path for drawing in drawings])
    assert vectors(found).shape == (len(drawings), 24)


def test_the_catalog_names_the_same_repositories_as_open_clip():
    import open_clip

    for entry in clip_catalog.catalog().values():
        if entry.repository:
            published = open_clip.get_pretrained_cfg(entry.architecture, entry.pretrained)
            assert published["hf_hub"] == entry.repository + "/"


def test_the_catalog_says_what_every_model_costs_and_may_be_used_for():
    for entry in clip_catalog.catalog().values():
        assert entry.about
        assert entry.licence
        assert entry.labels
        assert min(entry.size_mb, entry.memory_mb, entry.dimensions) > 0


# --- what is missing or wrong ---


def test_weights_that_cannot_be_had_are_asked_for_in_words_that_help(tmp_path):
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    with WorkerClient.started(environment) as client:
        answer = client.load("plugins.vision.clip", {"model": "ViT-B-32"})
    assert (answer.op, answer.body["code"]) == ("error", "unavailable")
    assert "laion/CLIP-ViT-B-32-laion2B-s34B-b79K is not on this machine" in answer.body["message"]
    assert str(tmp_path / "hub") in answer.body["hint"]
    assert 'pretrained = "FILE"' in answer.body["hint"]


def test_cached_weights_are_known_to_the_host_and_loaded_without_a_network(tmp_path, monkeypatch):
    folder = tmp_path / "hub" / "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K"
    file = folder / "snapshots" / "0123" / WEIGHTS
    file.parent.mkdir(parents=True)
    file.write_bytes((TINY / WEIGHTS).read_bytes())  # another model's, so that the refusal shows that it was read
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    assert clip.model_spec(ClipSettings(model="ViT-B-32")).files == (file,)
    assert f"{file} cannot be loaded as ViT-B-32" in unavailable(model="ViT-B-32")


@pytest.mark.parametrize("content", [b"", b"123" * 50, b"\xff" * 100])
def test_a_damaged_file_of_weights_is_unavailable(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    said = unavailable(model="RN50", pretrained=str(tmp_path / "w.safetensors"))
    assert "cannot be loaded as RN50" in said
    assert "replace it" in said


def test_a_file_of_weights_that_is_not_there_is_unavailable(tmp_path):
    assert "missing" in unavailable(model="RN50", pretrained=str(tmp_path / "w.safetensors"))


def test_a_folder_with_nothing_but_a_pickle_is_unavailable(tmp_path):
    (tmp_path / "open_clip_config.json").write_bytes((TINY / "open_clip_config.json").read_bytes())
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"\x80\x04N.")
    assert f"{tmp_path / WEIGHTS} are missing" in unavailable(model=str(tmp_path))


def test_a_folder_without_a_configuration_is_unavailable(tmp_path):
    (tmp_path / WEIGHTS).write_bytes((TINY / WEIGHTS).read_bytes())
    assert "open_clip_config.json" in unavailable(model=str(tmp_path))


def test_a_model_that_does_not_exist_is_unavailable_with_names_that_do():
    assert "ViT-B-32" in unavailable(model="ViT-B32", pretrained="")


def test_weights_that_were_never_published_are_unavailable_with_tags_that_were():
    assert "laion2b_s34b_b79k" in unavailable(model="ViT-B-32", pretrained="laion2b")


@pytest.mark.parametrize("package", ["open_clip", "torch"])
def test_a_missing_package_is_unavailable_with_what_to_install(tmp_path, package):
    raising = f"raise ModuleNotFoundError('none', name={package!r})"
    (tmp_path / f"{package}.py").write_text(raising)
    with WorkerClient.started({"PYTHONPATH": python_path(tmp_path)}) as client:
        answer = client.load("plugins.vision.clip")
    assert (answer.op, answer.body["code"]) == ("error", "unavailable")
    assert package in answer.body["message"]
    assert "pip install 'sensorium[vision]'" in answer.body["hint"]


# --- settings ---


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"modle": "tiny"}, "modle"),
        ({"template": "no place"}, "must hold {} once"),
        ({"template": "{} and {}"}, "must hold {} once"),
        ({"model": "RN50"}, "needs pretrained"),
        ({"model": "RN50", "pretrained": "weights/model.bin"}, "safetensors"),
        ({"pretrained": "laion2b_s34b_b79k"}, "has its weights with it"),
        ({"batch": 0}, "batch"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_the_reason(settings, said):
    with pytest.raises(ValidationError, match=said):
        ClipSettings(**settings)


def test_one_line_selects_the_real_model():
    spec = clip.model_spec(ClipSettings(model="ViT-B-32"))
    assert spec.name == "ViT-B-32/laion2b_s34b_b79k"
    assert spec.batch == 32


def test_every_setting_is_explained():
    assert all(field.description for field in ClipSettings.model_fields.values())


def test_the_spec_names_the_weights_that_lie_here():
    spec = clip.model_spec(ClipSettings(keep_alive=7, batch=3))
    assert spec.files == (TINY / WEIGHTS,)
    assert (spec.keep_alive, spec.batch) == (7, 3)


# --- processes ---


def test_the_host_side_imports_nothing_heavy():
    child = """
import sys
from plugins.vision import clip
clip.model_spec(clip.settings_class()())
print(*sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "open_clip", "PIL", "numpy", "huggingface_hub"} & set(said.split())


def test_loading_leaves_out_what_is_rarely_needed(drawings):
    child = f"""
import sys
from pathlib import Path
from plugins.vision import clip
from tests.worker_client import CPU, image_event
settings = clip.ClipSettings()
list(clip.on_image([image_event(Path({str(drawings[0].path)!r}))], clip.load(CPU, settings), settings))
print(*sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
    assert not {"torch._dynamo", "timm", "sympy"} & set(said.split())
    assert "open_clip" in said


def test_a_worker_looks_at_pictures_answers_texts_and_stays_within_its_stated_memory(drawings):
    spec = clip.model_spec(ClipSettings())
    with WorkerClient.started() as client:
        assert client.load("plugins.vision.clip").op == "loaded"
        *answers, done = client.run([image_event(drawing.path) for drawing in drawings * 5])
        text, _ = client.query(["a red circle on the left"])
        assert client.unload() == 0
    assert [answer.body["type"] for answer in answers] == ["embedding", "labels"] * 30
    pictures = np.stack([np.frombuffer(answer.blobs[0], np.float32) for answer in answers[0:12:2]])
    assert (pictures @ np.frombuffer(text.blobs[0], np.float32)).argmax() == 0
    assert done.body["memory_mb"] <= spec.memory_mb
