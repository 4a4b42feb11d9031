"""What is measured: values that travel to a worker; importing this starts no JAX."""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

from cnn.errors import UserError, unknown

MODES = ("train", "infer")
SIDES = ("flax", "torch")
"""What `ours` can be measured against."""

NUM_OBJECTS = 8
"""In an image of noise, of a detector; COCO's have seven."""

DTYPES = ("bfloat16", "float16", "float32")


class Network(NamedTuple):
    """One step of a network: of training, or of inference.

    Attributes:
        model: In the registry.
        mode: `train` or `infer`.
        batch_size: Over all devices.
        image_size: Height and width in pixels.
        channels: Of an image; a pair has as many twice.
        num_classes: Of the logits; 0 of a generator.
        dtype: Of the computation; parameters are float32.
    """

    model: str
    mode: str
    batch_size: int
    image_size: int
    channels: int
    num_classes: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.model} {self.mode}, batch {self.batch_size} at {self.image_size} px"


class Operation(NamedTuple):
    """One operation in one direction.

    Attributes:
        text: As a user writes it; `parse` reads it.
        kind: `conv`, `max_pool` or `avg_pool`.
        shape: Of the images: batch, height, width, channels.
        features: Channels of the output.
        window: Height and width of the kernel, in taps.
        stride: Of the window, in pixels.
        padding: On every side, in pixels.
        dilation: Of the window.
        groups: Of the channels.
        part: `forward`; `dx`, the gradient by the images; `dw`, by the kernel.
        dtype: Of all arrays.
    """

    text: str
    kind: str
    shape: tuple[int, int, int, int]
    features: int
    window: tuple[int, int]
    stride: int
    padding: tuple[int, int]
    dilation: int
    groups: int
    part: str = "forward"
    dtype: str = "float32"

    @property
    def parts(self) -> tuple[str, ...]:
        """What can be measured of it; pooling has no kernel to differentiate by."""
        return ("forward", "dx", "dw") if self.kind == "conv" else ("forward", "dx")

    def __str__(self) -> str:
        return f"{self.text} {self.part}"


class Products(NamedTuple):
    """Matrix products of a dtype: the rate that everything else is compared with."""

    dtype: str


Job: TypeAlias = Network | Operation | Products


class Prepared(NamedTuple):
    """What a side says once it could run.

    Attributes:
        compile_seconds: Tracing, lowering and compiling, or loading from the persistent cache; None
            where nothing is compiled.
        estimated_bytes: Memory of a step by the compiler's plan, on each device; None if unknown.
        layout: The memory format that was faster, for a side that has several.
    """

    compile_seconds: float | None = None
    estimated_bytes: int | None = None
    layout: str | None = None


OPERATIONS = (
    "conv:8x56x56x96,k7,g96",
    "conv:8x56x56x192,k3,g192",
    "conv:8x56x56x128,k3,g32",
    "conv:8x56x56x256,f64,k1",
    "conv:8x56x56x256,f512,k1,s2",
    "conv:8x56x56x64,k3",
    "conv:8x224x224x3,f64,k7,s2",
    "max_pool:8x112x112x64,k3,s2,p1",
)
"""Where stock JAX is slow on a CPU: depthwise, grouped, 1x1, 3x3, stem, max-pooling."""

_SPEC = re.compile(r"(\w+):(\d+)x(\d+)x(\d+)x(\d+)((?:,[a-z]\d+(?:x\d+)?)*)")
_LETTERS = {
    "conv": {"f": "features", "k": "kernel", "s": "stride", "p": "padding", "d": "dilation"}
    | {"g": "groups"},
    "max_pool": {"k": "window", "s": "stride", "p": "padding", "d": "dilation"},
    "avg_pool": {"k": "window", "s": "stride", "p": "padding"},
}


def parse(text: str) -> Operation:
    """The operation of a text as `conv:8x56x56x96,k7,g96` or `max_pool:8x112x112x64,k3,s2,p1`.

    Kind, then batch x height x width x channels, then letters: k the kernel or window (3, or 3x5),
    f features (default the channels), s stride (default 1, of pooling the window), p padding on
    every side (default half the kernel, of pooling 0), d dilation, g groups.

    Raises:
        UserError: If it is no operation that can be computed.
    """
    match = _SPEC.fullmatch(text)
    if match is None:
        raise UserError(
            f"--op={text} is no operation; write KIND:BATCHxHEIGHTxWIDTHxCHANNELS,LETTERS, for "
            f"instance {OPERATIONS[0]} (k kernel, f features, s stride, p padding, d dilation, "
            "g groups)"
        )
    kind, *sizes, letters = match.groups()
    if kind not in _LETTERS:
        raise unknown("operation", kind, _LETTERS)
    values: dict[str, tuple[int, int]] = {}
    for word in letters.split(",")[1:]:
        if word[0] not in _LETTERS[kind]:
            known = [f"{letter} {name}" for letter, name in _LETTERS[kind].items()]
            raise unknown(f"letter of {kind} in --op={text}", word[0], known)
        first, _, second = word[1:].partition("x")
        values[word[0]] = (int(first), int(second or first))
    if "k" not in values:
        raise UserError(f"--op={text} lacks the {_LETTERS[kind]['k']}, for instance k3")
    batch, height, width, channels = map(int, sizes)
    window, pooled = values["k"], kind != "conv"
    dilation = values.get("d", (1, 1))
    half = tuple(step * (taps - 1) // 2 for step, taps in zip(dilation, window, strict=True))
    result = Operation(
        text=text,
        kind=kind,
        shape=(batch, height, width, channels),
        features=values.get("f", (channels,))[0],
        window=window,
        stride=values.get("s", window if pooled else (1, 1))[0],
        padding=values.get("p", (0, 0) if pooled else (half[0], half[1])),
        dilation=dilation[0],
        groups=values.get("g", (1,))[0],
    )
    _check(result)
    return result


def _check(one: Operation) -> None:
    positive = (*one.shape, one.features, *one.window, one.stride, one.dilation, one.groups)
    if min(positive) < 1:
        raise UserError(f"--op={one.text} has a size of 0; only the padding may be 0")
    if one.shape[3] % one.groups or one.features % one.groups:
        raise UserError(
            f"--op={one.text}: {one.groups} groups do not divide {one.shape[3]} channels and "
            f"{one.features} features"
        )
    if one.kind != "conv" and any(
        2 * pad > taps for pad, taps in zip(one.padding, one.window, strict=True)
    ):
        raise UserError(f"--op={one.text}: pooling is padded by half its window at most")
    for size, taps, pad in zip(one.shape[1:3], one.window, one.padding, strict=True):
        if size + 2 * pad < (taps - 1) * one.dilation + 1:
            raise UserError(f"--op={one.text}: the window does not fit into the padded image")
