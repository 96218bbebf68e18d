"""What an ONNX file says of its inputs and outputs, read without the onnx package: no Jetson has it.

The numbers are those of the fields in onnx.proto; a file is nested messages of numbered fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from models.errors import ModelError

FLOAT32 = 1
"""TensorProto.FLOAT"""


class End(NamedTuple):
    """An input or output."""

    name: str
    kind: int  # FLOAT32, or another of TensorProto.DataType
    shape: list[int]  # -1 where the file leaves it open


def onnx_ends(path: Path) -> tuple[list[End], list[End]]:
    """Inputs and outputs. Old files count weights as inputs; here they are none."""
    try:
        content = memoryview(path.read_bytes())
        (graph,) = _messages(content, 7)
        weights = {_text(weight, 8) for weight in _messages(graph, 5)}
        inputs, outputs = ([_end(value) for value in _messages(graph, number)] for number in (11, 12))
    except OSError as error:
        raise ModelError(f"cannot read the model {path}: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise ModelError(f"{path} is not an ONNX model, or is cut off - export it again") from error
    return [end for end in inputs if end.name not in weights], outputs


def _end(value: memoryview) -> End:
    tensor = _one(_one(value, 2), 1)
    dimensions = _messages(_one(tensor, 2), 1)
    return End(_text(value, 1), _number(tensor, 1, 0), [_number(length, 1, -1) for length in dimensions])


def _number(message: memoryview, number: int, otherwise: int) -> int:
    for field, value in _fields(message):
        if field == number and isinstance(value, int):
            return value if value < 1 << 63 else value - (1 << 64)  # -1 is written as if it were unsigned
    return otherwise


def _text(message: memoryview, number: int) -> str:
    return bytes(_one(message, number)).decode()


def _one(message: memoryview, number: int) -> memoryview:
    """That field; empty if it is left out, as in Protocol Buffers it may."""
    return next(_messages(message, number), memoryview(b""))


def _messages(message: memoryview, number: int) -> Iterator[memoryview]:
    return (value for field, value in _fields(message) if field == number and isinstance(value, memoryview))


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and values: an integer, or the bytes of a string or a message. Others are passed over."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        if key & 7 == 0:
            value, place = _varint(message, place)
            yield key >> 3, value
        elif key & 7 == 2:
            length, place = _varint(message, place)
            if place + length > len(message):
                raise ValueError("cut off")
            yield key >> 3, message[place : place + length]
            place += length
        elif key & 7 in (1, 5):
            place += 8 if key & 7 == 1 else 4
        else:
            raise ValueError("no such type")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    number = shift = 0
    while True:
        byte = message[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place
