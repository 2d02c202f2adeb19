"""`python -m tools.train_clip.evaluate`: what a model knows, measured on pictures that it was never trained on."""

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image

from tools.drawn_world import (
    BACKGROUNDS,
    COLOURS,
    PLACE_PHRASES,
    POSITION_PHRASES,
    POSITIONS,
    SUBJECTS,
    Scene,
    background_phrase,
    caption,
    counted_phrase,
    draw,
    random_scene,
    with_article,
)
from tools.drawn_world.scene import MAX_ICONS, MAX_SHAPES

BUNDLED = Path(__file__).parents[2] / "plugins" / "vision" / "tiny" / "clip"
PICTURES, HELD_OUT_PICTURES, GALLERY, DRAWN_SIZE = 2000, 300, 500, 256


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured share of right answers: among `classes` possible ones, over `cases` questions."""

    name: str
    value: float
    classes: int
    cases: int


class Clip:
    """A model folder, loaded as any open_clip model; all embeddings are (n, width) and of length one."""

    def __init__(self, folder: Path) -> None:
        name = f"local-dir:{folder}"
        self.model, _, self.preprocess = open_clip.create_model_and_transforms(name)
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(name, bpe_path=str(folder / "bpe.txt.gz"))

    @torch.inference_mode()
    def images(self, pictures: Sequence[Image.Image], batch: int = 32) -> torch.Tensor:
        pixels = torch.stack([self.preprocess(picture) for picture in pictures])
        return torch.cat([self.model.encode_image(part, normalize=True) for part in torch.split(pixels, batch)])

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        vectors: torch.Tensor = self.model.encode_text(self.tokenizer(list(texts)), normalize=True)
        return vectors


@dataclass(frozen=True, slots=True)
class Gallery:
    """Scenes and the embeddings of their pictures, row by row."""

    clip: Clip
    scenes: list[Scene]
    images: torch.Tensor

    @classmethod
    def drawn(cls, clip: Clip, scenes: list[Scene], rng: random.Random) -> "Gallery":
        return cls(clip, scenes, clip.images([draw(scene, rng, DRAWN_SIZE) for scene in scenes]))

    def where(self, fits: Callable[[Scene], bool]) -> "Gallery":
        rows = [row for row, scene in enumerate(self.scenes) if fits(scene)]
        return Gallery(self.clip, [self.scenes[row] for row in rows], self.images[rows])

    def zero_shot(self, name: str, prompts: Sequence[str], answer: Callable[[Scene], int]) -> Figure:
        """How often the nearest of the same prompts for all pictures is the one that `answer` numbers."""
        nearest = (self.images @ self.clip.texts(prompts).T).argmax(1).tolist()
        right = sum(found == answer(scene) for found, scene in zip(nearest, self.scenes, strict=True))
        return Figure(name, right / len(self.scenes), len(prompts), len(self.scenes))

    def choice(self, name: str, prompts: Callable[[Scene], list[str]], answer: Callable[[Scene], int]) -> Figure:
        """How often the nearest of a picture's own prompts is the right one."""
        questions = [prompts(scene) for scene in self.scenes]
        vectors = self.clip.texts([prompt for question in questions for prompt in question])
        scores = torch.einsum("nd,npd->np", self.images, vectors.view(len(questions), -1, self.images.shape[1]))
        right = sum(f == answer(s) for f, s in zip(scores.argmax(1).tolist(), self.scenes, strict=True))
        return Figure(name, right / len(self.scenes), len(questions[0]), len(self.scenes))


def random_gallery(clip: Clip, seed: int, count: int = PICTURES) -> Gallery:
    """New pictures of the whole world; a seed of its own keeps them apart from all training pictures."""
    rng = random.Random(f"clip evaluation {seed}")
    return Gallery.drawn(clip, [random_scene(rng) for _ in range(count)], rng)


def held_out_gallery(clip: Clip, seed: int, count: int = HELD_OUT_PICTURES) -> Gallery:
    """Single subjects in a colour that training never showed them in."""
    rng = random.Random(f"clip evaluation of held-out pairs {seed}")
    scenes: list[Scene] = []
    while len(scenes) < count:
        scenes += [scene for scene in [random_scene(rng, "held-out")] if scene.count == 1]
    return Gallery.drawn(clip, scenes, rng)


def subject_figure(gallery: Gallery) -> Figure:
    prompts = [f"a photo of {with_article(subject)}" for subject in SUBJECTS]
    return gallery.where(is_single).zero_shot("object, single", prompts, lambda scene: SUBJECTS.index(scene.subject))


def pair_figure(gallery: Gallery, name: str) -> Figure:
    pairs = [(colour, subject) for colour in COLOURS for subject in SUBJECTS]
    prompts = [f"a photo of {with_article(f'{colour} {subject}')}" for colour, subject in pairs]
    return gallery.where(is_single).zero_shot(name, prompts, lambda scene: pairs.index((scene.colour, scene.subject)))


def setting_figures(gallery: Gallery) -> list[Figure]:
    places, papers = list(PLACE_PHRASES), [background_phrase(background) for background in BACKGROUNDS]
    icons, shapes = gallery.where(lambda scene: not scene.is_shape), gallery.where(lambda scene: scene.is_shape)
    return [
        icons.zero_shot("place", list(PLACE_PHRASES.values()), lambda scene: places.index(scene.setting)),
        shapes.zero_shot("background", papers, lambda scene: BACKGROUNDS.index(scene.setting)),
    ]


def count_figures(gallery: Gallery) -> list[Figure]:
    """The number alone is asked; colour and subject are given."""

    def figure(name: str, part: Gallery, most: int) -> Figure:
        return part.choice(
            name, lambda scene: [counted_phrase(scene, n) for n in range(1, most + 1)], lambda scene: scene.count - 1
        )

    shapes, icons = gallery.where(lambda scene: scene.is_shape), gallery.where(lambda scene: not scene.is_shape)
    return [figure("count of shapes", shapes, MAX_SHAPES), figure("count of icons", icons, MAX_ICONS)]


def position_figure(gallery: Gallery) -> Figure:
    """The position alone is asked; colour and subject are given."""
    return gallery.where(lambda scene: scene.position is not None).choice(
        "position", lambda scene: list(_position_queries(scene)), lambda scene: POSITIONS.index(str(scene.position))
    )


def position_search_figure(gallery: Gallery) -> Figure:
    """'a red circle on the left' over all pictures: is the first hit a red circle on the left?"""
    wanted = sorted({(s.colour, s.subject, s.position) for s in gallery.scenes if s.position is not None})
    queries = [f"{with_article(f'{colour} {subject}')} {POSITION_PHRASES[place]}" for colour, subject, place in wanted]
    first = (gallery.clip.texts(queries) @ gallery.images.T).argmax(1).tolist()
    hits = [gallery.scenes[row] for row in first]
    right = sum(want == (s.colour, s.subject, s.position) for want, s in zip(wanted, hits, strict=True))
    return Figure("search with a position, first hit", right / len(wanted), len(gallery.scenes), len(wanted))


def retrieval_figures(gallery: Gallery, size: int = GALLERY) -> list[Figure]:
    """Full captions over pictures whose captions all differ: is the text's own picture first, or among five?"""
    rows = list({caption(scene): row for row, scene in enumerate(gallery.scenes)}.items())[:size]
    scores = gallery.clip.texts([text for text, _ in rows]) @ gallery.images[[row for _, row in rows]].T
    ranks = (scores > scores.diagonal()[:, None]).sum(1)
    return [
        Figure(f"text to image, R@{depth}", float((ranks < depth).float().mean()), len(rows), len(rows))
        for depth in (1, 5)
    ]


def milliseconds_an_image(clip: Clip, batch: int = 32, rounds: int = 10) -> float:
    """Encoding alone, without preprocessing, on as many threads as torch now has; the best of some rounds."""
    pixels = torch.stack([clip.preprocess(Image.effect_noise((DRAWN_SIZE, DRAWN_SIZE), 50).convert("RGB"))] * batch)
    times = []
    with torch.inference_mode():
        for _ in range(rounds):
            started = time.perf_counter()
            clip.model.encode_image(pixels)
            times.append(time.perf_counter() - started)
    return min(times) / batch * 1000


def evaluate(clip: Clip, seed: int) -> list[Figure]:
    """All figures of a model; another seed draws other pictures."""
    gallery, held_out = random_gallery(clip, seed), held_out_gallery(clip, seed)
    return [
        subject_figure(gallery),
        pair_figure(gallery, "colour + object, single"),
        pair_figure(held_out, "colour + object, pairs never trained"),
        *setting_figures(gallery),
        *count_figures(gallery),
        position_figure(gallery),
        position_search_figure(gallery),
        *retrieval_figures(gallery),
    ]


def is_single(scene: Scene) -> bool:
    return scene.count == 1


def _position_queries(scene: Scene) -> list[str]:
    noun = with_article(f"{scene.colour} {scene.subject}")
    return [f"{noun} {POSITION_PHRASES[position]}" for position in POSITIONS]


def _as_table(report: dict[str, Any]) -> str:
    rows = [f"{f['name']:<40}{f['value']:>7.3f}   of {f['classes']}, {f['cases']} cases" for f in report["figures"]]
    return "\n".join([*rows, f"{'milliseconds an image':<40}{report['milliseconds_an_image']:>7.2f}"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.train_clip.evaluate", description=__doc__)
    parser.add_argument("--model", type=Path, default=BUNDLED, help="model folder (default: the bundled one)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clip = Clip(options.model)
    figures = [asdict(figure) for figure in evaluate(clip, options.seed)]
    report = {"figures": figures, "milliseconds_an_image": milliseconds_an_image(clip)}
    print(json.dumps(report, indent=2) if options.json else _as_table(report))


if __name__ == "__main__":
    main()
