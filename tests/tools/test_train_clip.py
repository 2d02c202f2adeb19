"""The training script really makes a model that open_clip loads, and the bundled one is as good as its card says."""

import hashlib
import math
import random
import re
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest
import torch

from tools.drawn_world import COLOURS, HELD_OUT_PAIRS, SUBJECTS, Description, Scene, draw, full_description
from tools.drawn_world.captions import OTHER_PHRASES, OTHER_WORDS
from tools.train_clip import evaluate
from tools.train_clip.__main__ import make_model
from tools.train_clip.bpe import learn_merges, write_merges
from tools.train_clip.evaluate import BUNDLED, Clip, Figure, Gallery
from tools.train_clip.pictures import augment, draw_training_set, shuffled_batches
from tools.train_clip.training import Progress, Settings, contrastive_loss, train, true_pairs

BLACK_CAT, TWO_CATS = Scene("cat", "black", "table"), Scene("cat", "white", "grass", 2)
MARGIN = 0.03
"""Below the card: more than three standard deviations of a share of .98 over 300 pictures."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def fresh_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip") / "made"
    make_model(folder, Settings(steps=3, batch=16), pictures=48)
    return folder


@pytest.fixture(scope="module")
def bundled() -> Clip:
    return Clip(BUNDLED)


@pytest.fixture(scope="module")
def gallery(bundled: Clip) -> Gallery:
    return evaluate.random_gallery(bundled, seed=2_026, count=600)


def claimed(name: str) -> float:
    """The figure that the model card's table gives."""
    row = re.search(rf"^\| {re.escape(name)} \|[^|]*\| (\d?\.\d+) \|", (BUNDLED / "MODEL_CARD.md").read_text(), re.M)
    assert row, f"MODEL_CARD.md has no row for {name!r}"
    return float(row[1])


def worse_than_claimed(figures: list[Figure]) -> list[Figure]:
    """Those that fall short of the card."""
    return [figure for figure in figures if figure.value < claimed(figure.name) - MARGIN]


# The script, end to end


def test_a_trained_model_loads_through_open_clip_with_its_own_tokenizer(fresh_model: Path) -> None:
    clip = Clip(fresh_model)
    vectors = clip.texts(["a red circle on the left", "Words that nobody drew: 42!"])
    assert vectors.shape == (2, 128)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    assert clip.model.token_embedding.num_embeddings == clip.tokenizer.vocab_size


def test_the_exported_files_are_readable_by_all_and_match_their_checksums(fresh_model: Path) -> None:
    listed = dict(reversed(line.split("  ")) for line in (fresh_model / "SHA256SUMS").read_text().splitlines())
    assert {*listed, "SHA256SUMS"} == {path.name for path in fresh_model.iterdir()}
    for name, digest in listed.items():
        assert hashlib.sha256((fresh_model / name).read_bytes()).hexdigest() == digest
        assert stat.S_IMODE((fresh_model / name).stat().st_mode) & 0o444 == 0o444


def test_every_word_of_the_drawn_world_is_one_token(fresh_model: Path) -> None:
    tokenizer = Clip(fresh_model).tokenizer
    words = {*SUBJECTS, *COLOURS, *(word for words in OTHER_WORDS.values() for word in words)}
    words |= {word for phrases in OTHER_PHRASES.values() for phrase in phrases for word in phrase.split()}
    assert {word: len(tokenizer.encode(word)) for word in words} == dict.fromkeys(words, 1)


def test_a_few_steps_lower_both_losses(tmp_path: Path, bundled: Clip) -> None:
    reports: list[Progress] = []
    settings = Settings(steps=16, batch=16, warm_up=4)
    train(draw_training_set(64, seed=1), bundled.tokenizer, settings, reports.append)
    first, last = reports[:4], reports[-4:]
    assert [report.step for report in reports] == list(range(1, 17))
    assert sum(r.contrastive_loss for r in last) < sum(r.contrastive_loss for r in first)
    assert sum(r.attribute_loss for r in last) < sum(r.attribute_loss for r in first)


def test_the_same_seed_trains_the_same_weights(bundled: Clip) -> None:
    data, settings = draw_training_set(16, seed=1), Settings(steps=2, batch=8)
    one, other = (train(data, bundled.tokenizer, settings, lambda _: None).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


# Its parts


def test_the_most_frequent_pair_is_merged_first_and_ties_go_by_the_alphabet() -> None:
    merges = learn_merges(Counter({"abc": 3, "bd": 1, "ad": 1}))
    assert merges == [("a", "b"), ("ab", "c</w>"), ("a", "d</w>"), ("b", "d</w>")]


def test_the_merges_file_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_merges([("a", "b"), ("ab", "c</w>")], tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_training_pictures_repeat_for_a_seed_and_leave_the_held_out_pairs_out() -> None:
    one, same, other = (draw_training_set(200, seed) for seed in (1, 1, 2))
    assert torch.equal(one.pictures, same.pictures)
    assert one.scenes != other.scenes
    assert one.pictures.shape == (200, 3, 64, 64)
    assert not HELD_OUT_PAIRS & {(scene.colour, scene.subject) for scene in one.scenes}


def test_each_picture_comes_once_before_any_comes_again() -> None:
    batches = shuffled_batches(10, 4, torch.Generator().manual_seed(0))
    drawn = [index for _ in range(5) for index in next(batches)]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))


def test_augmenting_keeps_the_shape_and_about_the_brightness() -> None:
    pictures = torch.full((8, 3, 64, 64), 128, dtype=torch.uint8)
    values = augment(pictures, torch.Generator().manual_seed(0))
    assert values.shape == (8, 3, 64, 64)
    assert 0.35 < values.mean().item() < 0.65


def test_a_text_counts_as_true_of_every_picture_that_it_fits() -> None:
    descriptions = [full_description(BLACK_CAT), Description("cats", frozenset({("subject", "cat")}))]
    assert true_pairs(descriptions, [BLACK_CAT, TWO_CATS]).tolist() == [[1, 0], [1, 1]]


def test_the_contrastive_loss_is_least_where_true_pairs_score_highest() -> None:
    truth = torch.eye(4)
    assert contrastive_loss(torch.zeros(4, 4), truth).item() == pytest.approx(math.log(4))
    assert contrastive_loss(20 * truth, truth).item() < 1e-6
    assert contrastive_loss(20 * truth.flip(0), truth).item() > 10


def test_a_share_counts_right_answers_over_all_cases(bundled: Clip) -> None:
    cat, dog = bundled.texts(["a photo of a cat", "a photo of a dog"])
    gallery = Gallery(bundled, [BLACK_CAT, BLACK_CAT, TWO_CATS, TWO_CATS], torch.stack([cat, dog, cat, cat]))
    prompts = ["a photo of a cat", "a photo of a dog"]
    assert gallery.zero_shot("cats", prompts, lambda _: 0) == Figure("cats", 0.75, 2, 4)
    assert gallery.choice("cats", lambda _: prompts, lambda scene: int(scene == TWO_CATS)) == Figure("cats", 0.25, 2, 4)
    assert gallery.where(lambda scene: scene == BLACK_CAT).zero_shot("dogs", prompts, lambda _: 1).value == 0.5


# The bundled model


def test_the_bundled_files_match_their_checksums() -> None:
    for line in (BUNDLED / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((BUNDLED / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("name", ["open_clip_config.json", "tiny-clip.json"])
def test_the_bundled_configurations_are_those_that_the_script_writes(fresh_model: Path, name: str) -> None:
    assert (BUNDLED / name).read_bytes() == (fresh_model / name).read_bytes()


def test_a_model_loads_by_name_like_any_other_of_open_clip(fresh_model: Path) -> None:
    by_folder = Clip(fresh_model)
    open_clip.add_model_config(fresh_model / "tiny-clip.json")
    weights = str(fresh_model / "open_clip_model.safetensors")
    by_name, _, preprocess = open_clip.create_model_and_transforms("tiny-clip", pretrained=weights)
    tokenizer = open_clip.get_tokenizer("tiny-clip", bpe_path=str(fresh_model / "bpe.txt.gz"))
    picture, text = draw(BLACK_CAT, random.Random(0), 100), "a black cat"
    with torch.inference_mode():
        seen = by_name.eval().encode_image(preprocess(picture)[None], normalize=True)
        read = by_name.encode_text(tokenizer([text]), normalize=True)
    assert torch.allclose(seen, by_folder.images([picture]), atol=1e-5)
    assert torch.allclose(read, by_folder.texts([text]), atol=1e-5)


def test_the_bundled_model_names_objects_and_colours_as_well_as_its_card_claims(gallery: Gallery) -> None:
    figures = [evaluate.subject_figure(gallery), evaluate.pair_figure(gallery, "colour + object, single")]
    assert not worse_than_claimed(figures)


def test_the_bundled_model_knows_settings_counts_and_positions_as_well_as_its_card_claims(gallery: Gallery) -> None:
    figures = [*evaluate.setting_figures(gallery), *evaluate.count_figures(gallery), evaluate.position_figure(gallery)]
    assert not worse_than_claimed(figures)


def test_the_bundled_model_finds_pictures_by_text_as_well_as_its_card_claims(gallery: Gallery) -> None:
    figures = evaluate.retrieval_figures(gallery)
    assert figures
    assert not worse_than_claimed(figures)


@pytest.mark.parametrize("place", ["left", "right"])
def test_a_red_circle_on_one_side_is_the_first_hit(bundled: Clip, gallery: Gallery, place: str) -> None:
    wanted = [Scene("circle", "red", "white", position=side) for side in ("left", "right")]
    near_misses = [Scene("circle", "pink", "white", position=place), Scene("ring", "red", "white", position=place)]
    shelf = Gallery.drawn(bundled, [*wanted, *near_misses], random.Random(5))
    scores = bundled.texts([f"a red circle on the {place}"]) @ torch.cat([shelf.images, gallery.images]).T
    found = [*shelf.scenes, *gallery.scenes][int(scores.argmax())]
    assert (found.subject, found.colour, found.position) == ("circle", "red", place)
