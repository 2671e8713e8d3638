"""Batches: the columns of a table as tensors on the device; a batch is one gather, not a loop over rows.

Pictures that are packed in a store and larger than SHARE of the memory stay there: a batch of them is read from the file,
the next one while this one is used. The bits are the same.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lamina.core.device import memory
from lamina.core.errors import SettingError
from lamina.data import _ragged
from lamina.data._augment import uniform
from lamina.data._pictures import Pictures
from lamina.data._running import Windows
from lamina.data._sequences import Sequences
from lamina.data._stream import Stream
from lamina.data._table import Field, Table

DATE_NUMBERS = 6  # day, and sine and cosine of the year's, and of the week's; hour of the day
DAY = 86_400.0
DENSE = ("mask", "picture")  # kinds of target that hold a value per pixel
SHARE = 0.4  # of the memory of machine or device that pictures may take


def number_count(fields: Sequence[Field]) -> int:
    """How many numbers the number and date fields give per row."""
    return sum({"number": 1, "date": DATE_NUMBERS}.get(f.kind, 0) for f in fields)


def category_counts(fields: Sequence[Field]) -> tuple[int, ...]:
    """How many classes each label field has."""
    return tuple(len(f.classes) for f in fields if f.kind == "label")


def number_names(fields: Sequence[Field]) -> list[str]:
    """Names of the columns of `numbers`, a date's six parts included."""
    parts = ("day", "year sine", "year cosine", "week sine", "week cosine", "hour")
    names: list[str] = []
    for f in fields:
        names += [f.name] if f.kind == "number" else [f"{f.name} ({p})" for p in parts] if f.kind == "date" else []
    return names


class Batches:
    """Rows of a table as tensors, by what nets take.

    image (rows, channels, height, width) uint8, "image 2" where a row has two, numbers (rows, number_count) float32 with NaN = missing,
    categories (rows, columns) int64 with -1 = missing, tokens (rows, longest of the batch) int64 and mask (the same) bool: the
    text columns one behind the other, as _ragged.py lays them out; target: int64 codes, uint8 (rows, classes), float64 values, or boxes:
    float32 (rows, most, 5), class -1 where a row has fewer, and size (rows, 2) int64, height and width of the pictures; of a
    mask uint8 codes (rows, height, width), 255 = none; of captions int64 (rows, sentences, tokens), PADDING behind each; of a picture uint8 or float32 (rows, channels, height, width).
    `resident`: pictures lie in memory on the device (True), are streamed (False), or as they fit (None). Raises SettingError
    when pictures shall be streamed that are not in a store.
    """

    def __init__(
        self,
        table: Table,
        inputs: Sequence[Field],
        target: Field | None,
        device: torch.device,
        cache: Path | None = None,
        resident: bool | None = None,
    ) -> None:
        columns = table.conform([*inputs, *([target] if target else [])])
        self.device, self.length = device, len(table)
        self.tensors: dict[str, Tensor] = {}
        """what is resident: all of it, or all but what is streamed"""
        self.streams: dict[str, Stream] = {}
        self._packs: dict[str, np.ndarray] = {}
        self.texts = _texts(columns, inputs, device, cache)
        """tokens of the text columns, when there are any"""
        self.running: dict[str, Windows] = {}
        """windows over running texts, read from their file a batch at a time"""
        self.sentences: Sequences | None = None
        """translations or tags, padded to the longest of a batch"""
        numbers, categories = [], []
        images = [f for f in inputs if f.kind == "image"]
        first = images[0] if images else None
        for field in inputs:
            values = columns[field.name].values
            if field.kind == "image":
                packed = values.pack(field.shape, cache, field.fit) if isinstance(values, Pictures) else values
                self._take_pictures("image" if field is first else f"image {images.index(field) + 1}", packed, resident)
            elif field.kind == "number":
                numbers.append(values[:, None])
            elif field.kind == "date":
                numbers.append(_date_numbers(values))
            elif field.kind == "label":
                categories.append(values)
            elif field.kind == "running":
                self._take_windows("tokens", values)
        if numbers:
            with np.errstate(over="ignore"):  # beyond float32 is infinite
                self.tensors["numbers"] = torch.from_numpy(np.concatenate(numbers, 1).astype(np.float32)).to(device)
        if categories:
            self.tensors["categories"] = torch.from_numpy(np.stack(categories, 1)).to(device)
        if target and target.kind == "boxes":
            self.tensors["target"] = torch.from_numpy(padded(columns[target.name].values)).to(device)
            pictures = [v for v in (columns[f.name].values for f in inputs) if isinstance(v, Pictures)]
            if pictures:
                self.tensors["size"] = torch.from_numpy(pictures[0].sizes().astype(np.int64)).to(device)
        elif target and target.kind == "captions":
            self.tensors["target"] = torch.from_numpy(_ragged.sentences(columns[target.name].values, target)).to(device)
        elif target and target.kind in DENSE:
            packed = columns[target.name].values.pack(target.shape, cache, target.fit)
            self._take_pictures("target", packed[:, 0] if target.kind == "mask" else packed, resident)
        elif target and target.kind in ("sentence", "tags"):
            self.sentences = Sequences(_packed(columns, inputs, target, cache), device)
        elif target and target.kind == "running":
            self._take_windows("target", columns[target.name].values)
        elif target:
            self.tensors["target"] = torch.from_numpy(np.ascontiguousarray(columns[target.name].values)).to(device)

    def _take_pictures(self, name: str, packed: np.ndarray, resident: bool | None) -> None:
        is_packed = isinstance(packed, np.memmap)
        if resident is False and not is_packed:
            raise SettingError("resident=False needs pictures in a store; name a cache folder.")
        if resident is None:
            held = packed.nbytes + sum(p.nbytes for p in self._packs.values())
            resident = not is_packed or held <= SHARE * _memory(self.device)
        same = next((n for n, p in self._packs.items() if is_packed and _is_same(p, packed)), None)
        self._packs[name] = packed
        if resident and same:  # a picture that is its own target lies in memory once
            self.tensors[name] = self.tensors[same]
        elif resident:
            self.tensors[name] = _tensor(packed).to(self.device)
        else:
            self.streams[name] = Stream(packed.view(np.uint8), pinned=self.device.type == "cuda")

    def _take_windows(self, name: str, values: Windows | np.ndarray) -> None:
        if isinstance(values, np.ndarray):
            self.tensors[name] = torch.from_numpy(values.astype(np.int64)).to(self.device)
        else:
            self.running[name] = values

    def __len__(self) -> int:
        return self.length

    @property
    def window(self) -> int:
        """Tokens of a row of a running text; 0 when there is none."""
        windows = next(iter(self.running.values()), None)
        return windows.length if windows else 0

    @property
    def lengths(self) -> np.ndarray | None:
        """Tokens of each row's text, int64 (rows,); (rows, 2) with a translation or tags; None where there are no texts."""
        if self.texts is None or self.sentences is None:
            return None if self.texts is None else self.texts.lengths
        return np.stack([self.texts.lengths, self.sentences.lengths], 1)

    @property
    def plain(self) -> bool:
        """Whether rows are numbers, categories and windows over running texts alone: many are gathered as fast as few."""
        return (
            not self.streams
            and self.tensors.keys() <= {"numbers", "categories", "target"}
            and (self.texts is None and self.sentences is None)
        )

    @property
    def stream(self) -> Stream | None:
        """The pictures where they are streamed."""
        return self.streams.get("image")

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """(channels, height, width) of the pictures, if there are any."""
        if self.stream:
            return self.stream.shape[1:]
        return tuple(self.tensors["image"].shape[1:]) if "image" in self.tensors else None

    def note(self, batch: int) -> str:
        """What is said when pictures are streamed in batches of so many rows; "" when they are resident."""
        if not self.streams:
            return ""
        whole = sum(s.packed.nbytes for s in self.streams.values()) / 1e6
        held = sum(s.bound(batch) for s in self.streams.values()) / 1e6
        return f"Pictures stay in the store ({whole:,.0f} MB) and are read ahead: at most {held:,.0f} MB are in memory."

    def get(self, rows: Tensor) -> dict[str, Tensor]:
        """The batch of these rows (int64 positions on any device)."""
        batch = self._held(rows)
        if self.running:
            batch |= self._windows(rows.cpu().numpy())
        return batch

    def _held(self, rows: Tensor) -> dict[str, Tensor]:
        """What is no running text."""
        places = rows.to(self.device)
        batch = {name: tensor.index_select(0, places) for name, tensor in self.tensors.items()}
        if self.texts is not None:
            batch["tokens"], batch["mask"] = self.texts.get(rows)
        if self.sentences is not None:
            batch["target"] = self.sentences.get(rows)[0]
        return {**batch, **self._streamed(rows.cpu().numpy())} if self.streams else batch

    def draw(self, rows: Tensor, passes: Tensor, seed: int) -> dict[str, Tensor]:
        """The batch of these rows for training: windows over a running text are moved on at random by (seed, pass, row)."""
        batch = self._held(rows)
        if self.running:
            moved = uniform(seed, passes, rows, 3)[:, 2].double() * self.window
            batch |= self._windows(rows.cpu().numpy(), moved.long().cpu().numpy())
        return batch

    def _windows(self, rows: np.ndarray, moved: np.ndarray | None = None) -> dict[str, Tensor]:
        found = {name: torch.from_numpy(windows.at(rows, moved)) for name, windows in self.running.items()}
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in found.items()}

    def _streamed(self, rows: np.ndarray) -> dict[str, Tensor]:
        found = {name: stream.get(rows).to(self.device, non_blocking=True) for name, stream in self.streams.items()}
        return {n: t.view(torch.float32) if self._packs[n].dtype == np.float32 else t for n, t in found.items()}

    def parts(self, size: int) -> list[Tensor] | None:
        """Texts: all rows in parts of like length, at most `size` rows each; None where the order is as good as any."""
        return None if self.texts is None else [p for part in self.texts.parts() for p in part.split(size)]

    def ahead(self, rows: Tensor) -> None:
        """Say which rows `get` is asked for next: when pictures are streamed, their reading begins."""
        for stream in self.streams.values():
            stream.ahead(rows.cpu().numpy())

    def first(self, rows: int) -> Batches:
        """The first rows, sharing memory."""
        few = copy.copy(self)
        few.texts = None if self.texts is None else self.texts.first(rows)
        few.tensors = {
            k: v for k, v in self.slice(0, rows).items() if self.texts is None or k not in ("tokens", "mask")
        }
        few.length, few.streams, few.running, few.sentences = rows, {}, {}, None
        return few

    def slice(self, start: int, stop: int) -> dict[str, Tensor]:
        """Rows start..stop in order, without a copy; streamed pictures are read, those of the next slice ahead."""
        batch = {name: tensor[start:stop] for name, tensor in self.tensors.items()}
        if self.texts is not None:
            batch["tokens"], batch["mask"] = self.texts.get(torch.arange(start, min(stop, self.length)))
        if self.sentences is not None:
            batch["target"] = self.sentences.get(torch.arange(start, min(stop, self.length)))[0]
        if self.running:
            batch |= self._windows(np.arange(start, min(stop, self.length)))
        if self.streams:
            stop, following = min(stop, self.length), min(2 * stop - start, self.length)
            batch |= self._streamed(np.arange(start, stop))
            if following > stop:
                self.ahead(torch.arange(stop, following))
        return batch


def padded(boxes: np.ndarray) -> np.ndarray:
    """object (rows,) of (n, 5) -> float32 (rows, most, 5), at least one a row; class -1 where there is none."""
    most = max((len(b) for b in boxes if b is not None), default=0)
    values = np.zeros((len(boxes), max(1, most), 5), np.float32)
    values[..., 4] = -1
    for i, own in enumerate(boxes):
        if own is not None:
            values[i, : len(own)] = own
    return values


def _texts(columns: Table, inputs: Sequence[Field], device: torch.device, cache: Path | None) -> Sequences | None:
    """The text columns of the inputs, whose fields must hold the same tokens."""
    fields = [f for f in inputs if f.kind in ("text", "sentence")]
    if not fields:
        return None
    tokens = fields[0].tokens
    assert tokens is not None and all(f.tokens == tokens for f in fields), "tokens are chosen with the plan"
    values = [columns[f.name].values for f in fields]
    return Sequences(_ragged.pack(values, tokens, [f.shape[0] for f in fields], cache), device)


def _packed(columns: Table, inputs: Sequence[Field], target: Field, cache: Path | None) -> _ragged.Ragged:
    """A target that is a row of tokens itself, or of the tags of the text's tokens."""
    values = columns[target.name].values
    if target.kind == "tags":
        field = next((f for f in inputs if f.kind == "text"), None)
        if field is None:  # the tags alone are of no token
            return _ragged.Ragged(np.zeros(len(values), np.int32), np.arange(len(values) + 1))
        return _ragged.tagged(columns[field.name].values, values, field)
    assert target.tokens is not None, "tokens are chosen with the plan"
    return _ragged.pack([values], target.tokens, list(target.shape), cache)


def _memory(device: torch.device) -> int:
    """Bytes of the device's own memory that are free, or of the machine's."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory() or 1 << 62


def _is_same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are maps of the same whole file."""
    names = [getattr(a, "filename", None) for a in (one, other)]
    return names[0] is not None and names[0] == names[1] and one.shape == other.shape and one.dtype == other.dtype


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array if array.flags.writeable else np.array(array))


def _date_numbers(seconds: np.ndarray) -> np.ndarray:
    day = seconds / DAY
    year, week = 2 * np.pi * day / 365.2425, 2 * np.pi * (day + 4) / 7  # 1970-01-01 was a Thursday
    return np.stack([day, np.sin(year), np.cos(year), np.sin(week), np.cos(week), seconds % DAY / 3600], 1)
