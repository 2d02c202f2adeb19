"""A hash that survives scaling and compression.

Source: C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, section 3.2.1 (pHash, DCT).
"""

from __future__ import annotations

import numpy as np

SIDE = 32


def bits_of(grey: np.ndarray) -> np.ndarray:
    """64 bits of a picture of 32 x 32 grey pixels: its lowest 8 x 8 frequencies, each above their median or not.

    Near copies differ in few bits (Hamming distance).
    """
    angles = np.pi * (2 * np.arange(SIDE) + 1) * np.arange(8)[:, None] / (2 * SIDE)
    frequencies = np.cos(angles) @ grey @ np.cos(angles).T  # DCT-II without its scale, which the median takes out
    return (frequencies > np.median(frequencies)).ravel()
