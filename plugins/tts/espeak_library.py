"""libespeak-ng in this process, called directly. It has one state: for a worker, and never for several threads."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from hooks import ModelUnavailable
from plugins.tts.parts import Style
from plugins.tts.speaking import About, known

SYNCHRONOUS, NO_EXIT = 2, 0x8000
UTF8, END_PAUSE = 1, 0x1000
SPEED, PITCH = 1, 3  # espeak_PARAMETER
USUAL_SPEED, USUAL_PITCH = 175, 50  # words a minute; of 0 to 99
SEMITONE = 50 / 12  # of that pitch: it halves at 0 and doubles at 99
SPEEDS = (80, 450)
USUAL_VOICES = {"en": "en-us"}


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The loaded library."""

    longest = 600
    sentence_pause = 0.0  # it makes its own

    def __init__(self, chosen: Path | None) -> None:
        self._library, data = _opened(chosen)
        folder = None if data is None else str(data).encode()
        self.rate = int(self._library.espeak_Initialize(SYNCHRONOUS, 0, folder, NO_EXIT))
        if self.rate <= 0:
            raise ModelUnavailable(
                "espeak-ng finds no data of its voices.", "Install it: pip install espeakng-loader, or espeak-ng-data."
            )
        self._chunks: list[np.ndarray] = []
        self._callback = _Callback(self._receive)  # kept, as the library keeps no reference
        self._library.espeak_SetSynthCallback(self._callback)
        self._voices = dict(self._known_voices())  # by language, as "en-gb"
        self._said: tuple[str, int, int] | None = None

    def chosen(self, style: Style) -> Style:
        """The style with its voice and language. Raises BadInput for those that there are not."""
        voice = style.voice or USUAL_VOICES.get(style.language.lower(), style.language.lower().replace("_", "-"))
        self._said = None
        if not voice.isprintable() or not self._set_voice(voice):
            what = "voice" if style.voice else "language"
            raise known(voice, sorted(self._voices), f"{what} of espeak-ng")
        language = style.language or voice.partition("+")[0]
        return replace(style, voice=voice, language=language)

    def say(self, text: str, style: Style) -> Iterator[np.ndarray]:
        """Samples of one utterance, int16."""
        self._set(style)
        self._chunks = []
        raw = text.encode()
        self._library.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, UTF8 | END_PAUSE, None, None)
        self._library.espeak_Synchronize()
        yield from self._chunks

    def about(self, style: Style) -> About:
        """Who speaks."""
        problems = ("espeak-ng has no emotions: that was left out.",) if style.emotion else ()
        return About(f"espeak-ng {style.voice}", problems=problems)

    def _set(self, style: Style) -> None:
        speed = round(min(SPEEDS[1], max(SPEEDS[0], USUAL_SPEED * style.speed)))
        pitch = round(min(99, max(0, USUAL_PITCH + style.pitch * SEMITONE)))
        if (style.voice, speed, pitch) != self._said:
            self._set_voice(style.voice)
            self._library.espeak_SetParameter(SPEED, speed, 0)
            self._library.espeak_SetParameter(PITCH, pitch, 0)
            self._said = (style.voice, speed, pitch)

    def _set_voice(self, voice: str) -> bool:
        """Whether there is such a voice: a language with a variant, or a name of its own."""
        language, plus, variant = voice.partition("+")
        name = self._voices.get(language.lower(), language) + plus + variant
        return bool(self._library.espeak_SetVoiceByName(name.encode()) == 0)

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _: object) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def _known_voices(self) -> Iterator[tuple[str, str]]:
        """Each language, and the file of a voice for it."""
        self._library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        voices = self._library.espeak_ListVoices(None)
        place = 0
        while voices[place]:
            voice = voices[place].contents
            yield from ((language, voice.identifier.decode()) for language in _strings(voice.languages))
            place += 1


def _strings(address: int) -> Iterator[str]:
    """What a list of languages holds: before each one a byte of priority, 0 at the end."""
    while ctypes.string_at(address, 1) != b"\0":
        raw = ctypes.string_at(address + 1)
        yield raw.decode("utf-8", "replace").lower()
        address += len(raw) + 2


def _opened(chosen: Path | None) -> tuple[ctypes.CDLL, Path | None]:
    """The library and the folder of its data: the chosen one, that of espeakng-loader, or the system's."""
    if chosen is None:
        try:
            import espeakng_loader

            return ctypes.CDLL(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())
        except (ImportError, OSError):
            pass
    names = [str(chosen)] if chosen else ["libespeak-ng.so.1", "libespeak-ng.1.dylib", "libespeak-ng.dylib"]
    for name in filter(None, (*names, None if chosen else ctypes.util.find_library("espeak-ng"))):
        try:
            return ctypes.CDLL(name), None
        except OSError:
            continue
    raise ModelUnavailable(
        f"libespeak-ng was not found{f' at {chosen}' if chosen else ''}.",
        "Install it: pip install 'sensorium[tts]', or the package espeak-ng of your system.",
    )
