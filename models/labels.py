"""Names of classes: the label files found in the wild, and the background class that some models have."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelError

BACKGROUND = {"background", "dummy"}
WORDNET_ID = re.compile(r"^n\d{8}\s+")
LINE_END = re.compile(r"\r\n|\r|\n")
"""Not `str.splitlines`: that splits at form feeds and the like too, and shifts every name below."""


@dataclass(frozen=True)
class Labels:
    """Class names by output index. `background` is the index of the class that means "none", if any does."""

    names: tuple[str, ...]
    background: int | None = None
    sha256: str = ""

    def fitted(self, outputs: int) -> Labels:
        """These labels for a model with so many outputs.

        One output more than labels is the background class in front, one less is a background line too many.
        Anything else would put a wrong name on every picture, and is refused.
        """
        offset = outputs - len(self.names)
        if offset == 0:
            return self
        if offset == 1 and self.background is None:
            return Labels(("background", *self.names), 0, self.sha256)
        if offset == -1 and self.background == 0:
            return Labels(self.names[1:], None, self.sha256)
        raise ModelError(
            f"the model has {outputs} outputs and the label file {len(self.names)} names"
            " - give the label file that belongs to this model with --labels FILE"
        )


def read_labels(path: Path) -> Labels:
    """Read one name a line: `name`, `n01440764 name`, or, with all lines numbered, `0 name`, `0: name`."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ModelError(f"cannot read the label file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is not text in UTF-8 - give a file with one name a line") from error
    if "\0" in text:
        raise ModelError(f"{path} is not text - give a file with one name a line")
    names = [line.strip() for line in LINE_END.split(text)]
    while names and not names[-1]:
        names.pop()
    if not any(names):
        raise ModelError(f"the label file {path} is empty - give one with one name a line")
    names = [without_wordnet_id(name) for name in without_numbers(names)]
    background = 0 if names[0].lower() in BACKGROUND else None
    return Labels(tuple(names), background, hashlib.sha256(content).hexdigest())


def numbered(count: int) -> Labels:
    """Stand-in names for a model without a label file: "class 0", "class 1" ..."""
    return Labels(tuple(f"class {index}" for index in range(count)))


def without_numbers(names: list[str]) -> list[str]:
    """Strip the numbers only if every line has one and they count up: a label may begin with a digit."""
    parts = [re.match(r"(\d+)(?:\s*:\s*|\s+)(.+)", name) for name in names]
    if all(part is not None and int(part[1]) == index for index, part in enumerate(parts)):
        return [part[2] for part in parts if part is not None]
    return names


def without_wordnet_id(name: str) -> str:
    return WORDNET_ID.sub("", name)
