"""RapidOCR in a worker: finds lines of text in a picture and reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rapidocr import RapidOCR

from hooks import ModelUnavailable

if TYPE_CHECKING:
    from PIL.Image import Image

    from plugins.vision.ocr import OcrSettings

Box = tuple[float, float, float, float]


class Reader:
    """The three models: one finds lines, one turns those that stand on their head, one reads them."""

    def __init__(self, settings: OcrSettings, threads: int) -> None:
        own = {"Det.model_path": settings.detection, "Rec.model_path": settings.recognition}
        self._engine = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.text_score": settings.min_confidence,
                "Global.use_cls": settings.turned,
                "Global.max_side_len": settings.longest_side,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                **{name: _there(path) for name, path in own.items() if path},
            }
        )

    def lines(self, picture: Image) -> Iterator[tuple[str, float, Box]]:
        """Each line in the order of reading: text, confidence from 0 to 1, and left, top, right, bottom in pixels."""
        found: Any = self._engine(np.asarray(picture)[:, :, ::-1])  # blue, green, red, as OpenCV has them
        if found.txts is None:
            return
        for text, confidence, corners in zip(found.txts, found.scores, found.boxes, strict=True):
            (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
            yield text, float(confidence), (float(left), float(top), float(right), float(bottom))


def _there(path: Path) -> str:
    if not path.is_file():
        raise ModelUnavailable(f"{path} is not there.", "Put the ONNX file there, or leave the setting out.")
    return str(path)
