"""Small models of random weights, in folders as real ones are published. They know nothing, and load the same way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml

EMOTIONS = ("calm", "happy", "angry")


def write_pipeline(folder: Path, *, clustering: str = "VBxClustering") -> Path:
    """A pipeline of pyannote.audio: who speaks when, in ten seconds at a time, of at most three voices."""
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import XVectorSincNet
    from pyannote.audio.models.segmentation import PyanNet

    torch.manual_seed(7)
    segmentation = PyanNet(lstm={"hidden_size": 8, "num_layers": 1}, linear={"hidden_size": 8, "num_layers": 1})
    segmentation.specifications = Specifications(
        Problem.MONO_LABEL_CLASSIFICATION, Resolution.FRAME, duration=10.0, classes=["one", "two", "three"],
        powerset_max_classes=2, permutation_invariant=True,
    )  # fmt: skip
    embedding = XVectorSincNet(dimension=16)
    embedding.specifications = Specifications(
        Problem.REPRESENTATION, Resolution.CHUNK, duration=3.0, min_duration=1.0, classes=["one", "two"]
    )
    _save(folder / "segmentation", segmentation)
    _save(folder / "embedding", embedding)
    params = {"segmentation": "$model/segmentation", "embedding": "$model/embedding", "clustering": clustering}
    chosen: dict[str, object] = {"threshold": 0.6, "Fa": 0.07, "Fb": 0.8}
    if clustering == "VBxClustering":
        params["plda"] = "$model/plda"
        _save_plda(folder / "plda", 16, 8)
    else:
        chosen = {"threshold": 0.7, "min_cluster_size": 2, "method": "centroid"}
    config = {
        "dependencies": {"pyannote.audio": "4.0.0"},
        "pipeline": {"name": "pyannote.audio.pipelines.SpeakerDiarization", "params": params},
        "params": {"segmentation": {"min_duration_off": 0.0}, "clustering": chosen},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def _save(folder: Path, model: torch.nn.Module) -> None:
    model.setup()
    checkpoint = {
        "state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams), "epoch": 1, "global_step": 1,
        "pytorch-lightning_version": "2.6.0",
    }  # fmt: skip
    model.on_save_checkpoint(checkpoint)
    folder.mkdir(parents=True)
    torch.save(checkpoint, folder / "pytorch_model.bin")


def _save_plda(folder: Path, dimension: int, reduced: int) -> None:
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True)
    lda = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0][:, :reduced]
    np.savez(folder / "xvec_transform.npz", mean1=np.zeros(dimension), mean2=np.zeros(reduced), lda=lda)
    np.savez(folder / "plda.npz", mu=np.zeros(reduced), tr=np.eye(reduced), psi=np.linspace(3, 0.1, reduced))


def write_classifier(folder: Path, **changes: object) -> Path:
    """An audio classifier of transformers: wav2vec 2.0 with one layer."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

    torch.manual_seed(7)
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_kernel=(10, 8), conv_stride=(5, 4), num_feat_extract_layers=2, classifier_proj_size=8,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, id2label=dict(enumerate(EMOTIONS)),
        label2id={name: number for number, name in enumerate(EMOTIONS)}, **changes,
    )  # fmt: skip
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder
