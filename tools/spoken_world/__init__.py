"""A small spoken world: sentences of three little grammars, said by espeak-ng in many voices."""

from tools.spoken_world.espeak import RATE, Espeak, Speech, Voice
from tools.spoken_world.recordings import Said, Take, noise, silence, write_recording, write_wav
from tools.spoken_world.sentences import GRAMMARS, LANGUAGES, is_held_out, vocabulary
from tools.spoken_world.speakers import HELD_OUT_VOICES, TRAINED_VOICES, random_voice

__all__ = [
    "GRAMMARS",
    "HELD_OUT_VOICES",
    "LANGUAGES",
    "RATE",
    "TRAINED_VOICES",
    "Espeak",
    "Said",
    "Speech",
    "Take",
    "Voice",
    "is_held_out",
    "noise",
    "random_voice",
    "silence",
    "vocabulary",
    "write_recording",
    "write_wav",
]
