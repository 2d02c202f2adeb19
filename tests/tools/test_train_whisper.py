"""The training script really makes a model that faster-whisper loads, and the bundled one is as good as it must be."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from faster_whisper import WhisperModel
from tokenizers import Tokenizer

from plugins.audio.whisper import WhisperSettings
from tools.spoken_world import GRAMMARS, LANGUAGES, Espeak, Take, is_held_out, random_voice, vocabulary
from tools.train_whisper import evaluate
from tools.train_whisper.__main__ import CHECKPOINT, VOCABULARY_FILE, make_model
from tools.train_whisper.batches import Batches
from tools.train_whisper.corpus import Utterance, speak_corpus
from tools.train_whisper.evaluate import Listener, Speakers, word_error_rate, word_errors
from tools.train_whisper.model import EOT, FIRST_TIMESTAMP, FRAMES, NO_SPEECH, NO_TIMESTAMPS, PREVIOUS, TinyWhisper
from tools.train_whisper.tokens import Tokens
from tools.train_whisper.training import Schedule, Training
from tools.train_whisper.windows import Windows

BUNDLED = VOCABULARY_FILE.parent
FEW = Schedule(steps=8, short=6, cooldown=2, batch=2)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(Tokenizer.from_file(str(VOCABULARY_FILE)))


@pytest.fixture(scope="module")
def corpus() -> list[Utterance]:
    return speak_corpus(60, 1, lambda count: None)


# The spoken world


def test_sentences_are_said_with_the_time_of_each_word():
    speech = Espeak().say("turn on the kitchen light", random_voice(random.Random(0), "en", trained=True))
    assert len(speech.starts) == 5
    assert list(speech.starts) == sorted(speech.starts)
    assert 0 <= speech.starts[0] < 0.1 < speech.starts[-1] < speech.seconds < 5


def test_the_languages_have_the_words_that_the_card_counts():
    card = (BUNDLED / "MODEL_CARD.md").read_text()
    counts = [len(vocabulary(language)) for language in LANGUAGES]
    assert [int(number) for number in re.findall(r"(\d+) (?:English words|German|French)", card)] == counts


def test_about_a_twelfth_of_the_sentences_is_held_out():
    rng = random.Random(0)
    texts = {GRAMMARS[language].sentence(rng) for language in LANGUAGES for _ in range(3000)}
    assert 1 / 15 < sum(map(is_held_out, texts)) / len(texts) < 1 / 10


def test_no_training_utterance_is_held_out(corpus):
    assert not [utterance for utterance in corpus if is_held_out(" ".join(utterance.words))]


# The script, end to end


def test_a_trained_model_loads_through_faster_whisper(tmp_path):
    make_model(tmp_path / "made", FEW, utterances=40)
    assert not (tmp_path / "made" / CHECKPOINT).exists()
    listed = [line.split("  ") for line in (tmp_path / "made" / "SHA256SUMS").read_text().splitlines()]
    for digest, name in listed:
        assert hashlib.sha256((tmp_path / "made" / name).read_bytes()).hexdigest() == digest
    model = WhisperModel(str(tmp_path / "made"), device="cpu", compute_type="int8")
    assert model.model.is_multilingual
    _, info = model.transcribe(np.zeros(16_000, np.float32), beam_size=1, temperature=0.0)
    assert info.duration == 1


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "vocabulary.json"])
def test_the_bundled_configuration_is_what_the_script_writes(name, tmp_path, tokens):
    from tools.train_whisper.export import export

    export(TinyWhisper(tokens.used), VOCABULARY_FILE, tmp_path)
    assert (tmp_path / name).read_bytes() == (BUNDLED / name).read_bytes()


def test_interrupted_training_ends_with_the_same_weights_as_any_other_of_the_seed(corpus, tokens, tmp_path):
    whole = Training(corpus, tokens, FEW, 0)
    assert [progress.step for progress in whole.steps(workers=1)] == [1, 2, 3, 4, 5, 6, 7, 8]
    first, then = (Training(corpus, tokens, FEW, 0) for _ in range(2))
    assert [progress.step for _, progress in zip(range(3), first.steps(), strict=False)] == [1, 2, 3]
    first.save(tmp_path / CHECKPOINT)
    then.restore(tmp_path / CHECKPOINT)
    assert [progress.step for progress in then.steps()] == [4, 5, 6, 7, 8]
    one, other = whole.model.state_dict(), then.model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_rate_rises_falls_slowly_and_ends_at_nothing():
    schedule = Schedule(steps=4000, short=0, cooldown=1000)
    shares = [schedule.share_at(step) for step in range(4001)]
    assert shares[0] == 0.01
    assert shares[100] == shares[899] == 1
    assert shares[3000] == pytest.approx(shares[2999], abs=0.001)
    assert 0.5 < shares[3000] < 0.6
    assert shares[4000] == 0


def test_some_steps_lower_the_losses(corpus, tokens):
    training = Training(corpus, tokens, Schedule(steps=24, short=24, cooldown=6, batch=4), 0)
    told = list(training.steps())
    for loss in ("token_loss", "time_loss", "frame_loss"):
        values = [getattr(progress, loss) for progress in told]
        assert sum(values[-6:]) < sum(values[:6]), loss


# Its parts


def test_a_window_says_what_is_in_it(corpus, tokens):
    windows = Windows(corpus, tokens, 0, short=False)
    seen = set()
    for _ in range(60):
        window = windows.draw(prompts=True)
        given, wanted = window.targets.given, window.targets.wanted
        assert len(given) == len(wanted) <= 448
        assert wanted[-1] == EOT
        if not window.sentences:
            seen.add("silence")
            assert NO_SPEECH in wanted
        elif NO_TIMESTAMPS in given:
            seen.add("without times")
            text = [
                token for sentence in window.sentences for word, _, _ in sentence.words for token in tokens.pieces(word)
            ]
            assert wanted[-1 - len(text) : -1] == text
        else:
            seen.add("with times")
            times = [token - FIRST_TIMESTAMP for token in wanted[window.targets.first :] if token >= FIRST_TIMESTAMP]
            edges = [round(50 * edge) for s in window.sentences for edge in (s.start, s.end)]
            assert times[: len(edges)] == edges
            lone_or_cut = len(times) - len(edges)
            assert lone_or_cut == 1 if len(window.sentences) == 1 else lone_or_cut <= 1
            assert len(window.targets.looks) > len(edges)
        if given[0] == PREVIOUS:
            seen.add("prompt")
            assert window.targets.first <= 224
    assert seen == {"silence", "without times", "with times", "prompt"}


def test_a_layout_stands_for_the_whole_window(corpus, tokens):
    batch = Batches(Windows(corpus, tokens, 0, short=False), 4, 0)[0][0]
    layout = batch.layout
    stored = (layout.position >= 0).sum(1)
    stood_for = layout.log_count.exp().sum(1)
    assert batch.mel.shape[-1] == 2 * layout.position.shape[1]
    assert ((stored + stood_for - FRAMES).abs() < 8).all()


def test_what_stands_for_the_rest_of_the_window_is_as_good_as_the_rest(corpus, tokens):
    """The memory of few frames agrees with that of the whole window, which is what CTranslate2 computes."""
    torch.manual_seed(0)
    model = TinyWhisper(tokens.used).eval()
    windows = Windows(corpus, tokens, 3, short=True)
    whole = [window for window in (windows.draw(prompts=False) for _ in range(20)) if not window.gaps][:4]
    batches = Batches(windows, 4, 0)
    mel = batches._spectra(whole)
    layout = batches._layout(whole, mel.shape[-1] // 2)
    padded = torch.nn.functional.pad(mel, (0, 2 * FRAMES - mel.shape[-1]))
    with torch.no_grad():
        few, _ = model.encode(mel, layout)
        all_of_them = model.encode_window(padded)
    for row, window in enumerate(whole):
        heard = len(window.samples) // 320
        same = torch.nn.functional.cosine_similarity(few[row, :heard], all_of_them[row, :heard], dim=-1)
        assert same.mean() > 0.96


def test_word_errors_are_the_fewest_changes():
    assert word_errors("turn on the light", "turn on the light") == 0
    assert word_errors("turn on the light", "turn the light now") == 2
    assert word_errors("one two", "") == 2
    assert word_error_rate([("one two three four", "one two four"), ("five", "five six")]) == pytest.approx(2 / 5)


# The bundled model


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Listener:
    return Listener(WhisperSettings(), tmp_path_factory.mktemp("recordings"))


def test_the_bundled_files_match_their_checksums():
    for line in (BUNDLED / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((BUNDLED / name).read_bytes()).hexdigest() == digest, name


def rate(listener: Listener, takes: list[Take]) -> float:
    return word_error_rate([(take.text, listener.hear(take.samples).text.replace("\n", " ")) for take in takes])


def test_held_out_sentences_by_held_out_voices_are_understood(listener):
    speakers = Speakers(2_026)
    takes = [Take.of([evaluate.LEAD, speakers.sentence()[1], evaluate.TAIL]) for _ in range(60)]
    assert rate(listener, takes) <= 0.03


def test_a_dozen_sentences_are_understood(listener):
    speakers = Speakers(2_026)
    assert rate(listener, [speakers.dozen() for _ in range(3)]) <= 0.06


def test_noise_and_long_silence_are_borne(listener):
    speakers = Speakers(2_026)
    sentences = [speakers.sentence()[1] for _ in range(30)]
    quiet = [Take.of([evaluate.LONG_LEAD, sentence, evaluate.TAIL]) for sentence in sentences]
    noisy = [
        Take.of([evaluate.LEAD, s, evaluate.TAIL]).with_noise(evaluate.DECIBELS, speakers.noise) for s in sentences
    ]
    assert rate(listener, quiet) <= 0.06
    assert rate(listener, noisy) <= 0.10
