"""Short playable recordings: tones that rise and fall like two people talking."""

from __future__ import annotations

import io
import math
import random
import wave
from array import array

RATE = 8000
LENGTHS = (12, 18, 25, 31, 38, 47, 64, 95)


def recording(seconds: int, rnd: random.Random) -> bytes:
    """WAV, mono, 8 kHz, 8 bit: syllables of two voices with pauses between turns."""
    samples = array("B", bytes([128]) * (seconds * RATE))
    at, voice = RATE // 2, 0
    while at < len(samples) - RATE:
        for _ in range(rnd.randint(4, 14)):
            at = _syllable(samples, at, (118, 205)[voice] * rnd.uniform(0.9, 1.15), rnd)
        at += rnd.randint(RATE // 4, RATE)
        voice = 1 - voice
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return out.getvalue()


def _syllable(samples: array[int], at: int, pitch: float, rnd: random.Random) -> int:
    length = rnd.randint(RATE // 14, RATE // 6)
    step = 2 * math.pi * pitch / RATE
    for offset in range(min(length, len(samples) - at)):
        envelope = math.sin(math.pi * offset / length)
        phase = offset * step
        wave_sum = math.sin(phase) + 0.5 * math.sin(2 * phase) + 0.25 * math.sin(5 * phase)
        samples[at + offset] = 128 + int(40 * envelope * wave_sum)
    return at + length + rnd.randint(200, 900)
