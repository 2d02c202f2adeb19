"""A CLIP of open_clip in memory. Imports PyTorch: for workers only."""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from PIL.Image import Image as Pixels
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import normalize, softmax

from hooks import BadInput, Device, Image, Label, ModelUnavailable
from plugins import hub
from plugins.vision import pictures
from plugins.vision.clip_catalog import HERE, WEIGHTS, Entry
from plugins.vision.postponed import postponed

# Half of the time that importing open_clip takes, and 160 MB: PyTorch's compiler, of which torchvision asks one
# question, and timm, of which only some architectures are made.
RARELY_NEEDED = ("torch._dynamo.utils", "timm", "timm.layers")
MERGES = "bpe.txt.gz"  # the tokenizer's own, where a folder has one: weights and merges belong together
WIDEST = 16  # sides of 16 to 1 at most: the shorter one is scaled to what the model sees, and the other grows with it
CHUNK = 16  # pictures of a batch that are computed while the next ones are decoded
TEXTS = 64  # texts at a time, which bounds the memory that a long list of names takes
SETTING = 'pretrained = "FILE" in [plugins.clip]'


class Clip:
    """Both towers, in float32 on a CPU and half precision on a GPU, and the names that pictures can be given.

    `space` names the model and its weights. Vectors are unit vectors on the CPU, float32, one row a text or picture.
    """

    def __init__(self, network: Any, transform: Callable[[Pixels], Tensor], tokenizer: Any, space: str) -> None:
        self.space = space
        self.names: tuple[str, ...] = ()
        self.template = "{}"
        self._network = network.eval()
        self._transform = transform
        self._tokenizer = tokenizer
        self._device = next(network.parameters()).device
        self._dtype = torch.float32 if self._device.type == "cpu" else torch.float16
        size = network.visual.preprocess_cfg["size"]
        self._scale = float(network.logit_scale.detach().exp())
        self._side = size if isinstance(size, int) else max(size)
        # One thread each: the decoding is what they are for, and PyTorch's own threads must not multiply.
        self._pool = ThreadPoolExecutor(torch.get_num_threads(), "decode", torch.set_num_threads, (1,))

    @torch.inference_mode()
    def text_vectors(self, texts: Sequence[str]) -> Tensor:
        """The vectors of texts; what is longer than the model reads is cut off."""
        rows = self._tokenizer(list(texts)).to(self._device).split(TEXTS)
        return torch.cat([normalize(self._network.encode_text(part).float(), dim=-1).cpu() for part in rows])

    @torch.inference_mode()
    def picture_vectors(self, pixels: Sequence[Tensor]) -> Tensor:
        """The vectors of pictures that were decoded and transformed."""
        batch = torch.stack(list(pixels)).to(self._device, self._dtype)
        return normalize(self._network.encode_image(batch).float(), dim=-1).cpu()

    @torch.inference_mode()
    def best_names(self, vector: Tensor, top: int) -> tuple[Label, ...]:
        """The names that fit a picture best, with their shares of the belief in all names."""
        shares = softmax(self._scale * self._name_vectors @ vector, dim=0)
        best = shares.topk(min(top, len(self.names)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return tuple(Label(name=self.names[index], score=round(share, 4)) for index, share in pairs)

    @functools.cached_property
    def _name_vectors(self) -> Tensor:
        """Made at the first picture, because a search needs none and should not wait for them."""
        return self.text_vectors([self.template.replace("{}", name) for name in self.names])

    def look(self, events: Sequence[Image], max_megapixels: float) -> Iterator[tuple[Image, Tensor | BadInput]]:
        """The vector of each picture or what is wrong with it, in order; later ones are decoded meanwhile."""
        decoded = [(event, self._pool.submit(self._decoded, event, max_megapixels)) for event in events]
        for start in range(0, len(decoded), CHUNK):
            chunk = [(event, future.result()) for event, future in decoded[start : start + CHUNK]]
            good = [pixels for _, pixels in chunk if isinstance(pixels, Tensor)]
            vectors = iter(self.picture_vectors(good) if good else ())
            for event, pixels in chunk:
                yield event, next(vectors) if isinstance(pixels, Tensor) else pixels

    def _decoded(self, event: Image, max_megapixels: float) -> Tensor | BadInput:
        try:
            with pictures.opened(event, max_megapixels) as image:
                pixels = pictures.decoded(image, 2 * self._side)
        except BadInput as error:
            return error
        return self._transform(pictures.middle(pixels, WIDEST))


def load(entry: Entry, device: Device, threads: int) -> Clip:
    """Load a model on a device; ModelUnavailable says what is missing and what to put where."""
    torch.set_num_threads(threads)
    open_clip = imported()
    known = published(open_clip, entry)
    file = weights_file(entry, known)
    network, transform = built(open_clip, entry, known, file, device)
    merges = HERE / entry.folder / MERGES if entry.folder else None
    tokens = {"bpe_path": str(merges)} if merges and merges.is_file() else {}
    tokenizer = open_clip.get_tokenizer(identifier(entry), **tokens)
    return Clip(network, transform, tokenizer, f"{entry.name}@{short_hash(file)}" if file else entry.name)


def imported() -> ModuleType:
    """open_clip, without what it rarely needs."""
    with postponed(*RARELY_NEEDED):
        return importlib.import_module("open_clip")


def identifier(entry: Entry) -> str:
    """What open_clip calls the model."""
    return f"local-dir:{HERE / entry.folder}" if entry.folder else entry.architecture


def published(open_clip: ModuleType, entry: Entry) -> dict[str, Any]:
    """What open_clip knows of these weights: where they are, how pictures are prepared for them; empty if nothing."""
    if entry.folder:
        return {}
    if open_clip.get_model_config(entry.architecture) is None:
        near = difflib.get_close_matches(entry.architecture, open_clip.list_models(), 3) or ["ViT-B-32"]
        raise ModelUnavailable(f"open_clip has no model {entry.architecture!r}.", f"It has {', '.join(near)}.")
    known: dict[str, Any] = open_clip.get_pretrained_cfg(entry.architecture, entry.pretrained)
    if entry.pretrained and not entry.file and not known.get("hf_hub"):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(entry.architecture)) or "none"
        raise ModelUnavailable(f"open_clip has no weights {entry.name!r}.", f"Those of this model are: {tags}.")
    return known


def weights_file(entry: Entry, known: dict[str, Any]) -> Path | None:
    """The file of the weights on this machine, fetched if need be; None for random ones."""
    if not entry.pretrained:
        return None
    if entry.local_file:
        return entry.local_file
    if entry.file and not entry.repository:
        raise ModelUnavailable(f"The weights {entry.path} are missing.", "Put them there, or choose another model.")
    repository, _, name = known["hf_hub"].rpartition("/")
    safe = f"{Path(name).stem}.safetensors" if name else WEIGHTS
    return hub.fetched(entry.repository or repository, entry.file or safe, SETTING)


def built(
    open_clip: ModuleType, entry: Entry, known: dict[str, Any], file: Path | None, device: Device
) -> tuple[torch.nn.Module, Callable[[Pixels], Tensor]]:
    """The network with its weights, and what turns a picture into its input."""
    torch.manual_seed(0)  # random weights are the same ones each time, so that their vectors can be compared
    try:
        network, _, transform = open_clip.create_model_and_transforms(
            identifier(entry),
            pretrained=None if entry.folder or file is None else str(file),
            load_weights=file is not None,
            device=device.torch,
            precision="fp16" if device.kind == "gpu" else "fp32",
            force_quick_gelu=known.get("quick_gelu", False),
            **{f"image_{key}": known.get(key) for key in ("mean", "std", "interpolation", "resize_mode")},
        )
    except torch.OutOfMemoryError:
        raise
    except (SafetensorError, RuntimeError, ValueError, AssertionError, FileNotFoundError) as error:
        raise ModelUnavailable(
            f"{file or entry.name} cannot be loaded as {entry.architecture}: {str(error)[:300]}",
            "The file is damaged or belongs to another model: replace it.",
        ) from error
    return network, transform


def short_hash(file: Path) -> str:
    """The first digits of the file's SHA-256."""
    digest = hub.sha256_of_blob(file)
    if digest is None:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    return digest[:8]
