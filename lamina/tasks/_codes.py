"""Codes of bits: packed into bytes, searched by how many bits differ (Hamming 1950), and how good the nearest ones are."""

from __future__ import annotations

import numpy as np

PART = 1 << 24  # bytes that are compared at a time


def packed(bits: np.ndarray) -> np.ndarray:
    """uint8 (rows, bits / 8) of bool (rows, bits)."""
    return np.packbits(bits.astype(bool), axis=1)


def distances(codes: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """int32 (asked, codes): bits in which two codes differ, both uint8 (rows, bytes)."""
    words = codes.shape[1] // 8
    if words * 8 == codes.shape[1]:
        codes, asked = (np.ascontiguousarray(part).view(np.uint64) for part in (codes, asked))
    found = np.zeros((len(asked), len(codes)), np.int32)
    for column in range(codes.shape[1]):
        found += np.bitwise_count(asked[:, column, None] ^ codes[None, :, column])
    return found


def nearest(codes: np.ndarray, asked: np.ndarray, count: int) -> np.ndarray:
    """int64 (asked, count): rows of the nearest codes, the first row where several are as near."""
    size = max(1, PART // max(1, codes.nbytes))
    parts = []
    for start in range(0, len(asked), size):
        apart = distances(codes, asked[start : start + size]).astype(np.int64) * len(codes) + np.arange(len(codes))
        best = np.argpartition(apart, min(count, apart.shape[1] - 1), axis=1)[:, :count]
        parts.append(np.take_along_axis(best, np.take_along_axis(apart, best, 1).argsort(1), 1))
    return np.concatenate(parts)


def precision(found: np.ndarray, own: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64 (asked,): share of the rows `found` (asked, k) whose label is the one of who asked."""
    return (labels[found] == own[:, None]).mean(1)
