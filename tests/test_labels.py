"""Label files as they are found in the wild, and the background class that some models have."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelError
from models.labels import Labels, numbered, read_labels


def read(tmp_path: Path, content: bytes | str) -> Labels:
    path = tmp_path / "labels.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_labels(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n \n",
        b"\xef\xbb\xbf",
        b"\x1c\x00\x00\x00TFL3\x14\x00 \x00",  # the model given as its own label file
        b"\xff\xfeh\x00e\x00n\x00",  # UTF-16
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_what_is_no_list_of_names_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelError, match=r"labels\.txt.* - give ") as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_directory_are_refused_in_one_line(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.txt", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ModelError, match=reason):
            read_labels(path)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("tench\ngoldfish\n", ("tench", "goldfish")),
        ("tench\r\ngoldfish\r\n", ("tench", "goldfish")),
        ("tench\rgoldfish", ("tench", "goldfish")),
        ("tench\ngoldfish\n\n\n \n", ("tench", "goldfish")),
        ("\ufefftench\ngoldfish", ("tench", "goldfish")),
        ("0 tench\n1 goldfish", ("tench", "goldfish")),
        ("0  tench\n1\tgoldfish", ("tench", "goldfish")),
        ("0: tench\n1:goldfish\n2 : white shark", ("tench", "goldfish", "white shark")),
        ("\ufeff0 tench\n1 goldfish", ("tench", "goldfish")),
        ("n01440764 tench, Tinca tinca\nn01443537\tgoldfish", ("tench, Tinca tinca", "goldfish")),
        ("0 n01440764 tench\n1 n01443537 goldfish", ("tench", "goldfish")),
        ("n01440764\nn01443537", ("n01440764", "n01443537")),  # better than no name
        ("7 up\n3 musketeers", ("7 up", "3 musketeers")),
        ("0 percent milk\n2 percent milk", ("0 percent milk", "2 percent milk")),
        ("007\ngoldfish", ("007", "goldfish")),
        ("tench\n\ngoldfish", ("tench", "", "goldfish")),  # a gap is a class without a name, not a shift
        ("chêne\nœuf\n犬", ("chêne", "œuf", "犬")),
        ("a\x0cb\nc\u2028d", ("a\x0cb", "c\u2028d")),  # str.splitlines would make four of these
    ],
)
def test_each_shape_of_file_gives_its_names(tmp_path: Path, content: str, names: tuple[str, ...]) -> None:
    labels = read(tmp_path, content)
    assert labels.names == names
    assert len(labels.sha256) == 64


@given(st.lists(st.text(st.characters(categories=["L"]), min_size=1), min_size=1, max_size=30))
def test_numbering_every_line_changes_no_name(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    directory = tmp_path_factory.getbasetemp()
    bare = read(directory, "\n".join(names))
    assert read(directory, "\n".join(f"{i} {name}" for i, name in enumerate(names))).names == bare.names
    assert read(directory, "\n".join(f"{i}: {name}" for i, name in enumerate(names))).names == bare.names
    assert bare.names == tuple(names)


@pytest.mark.parametrize("first", ["background", "Background", "dummy", "0 background", "0: background"])
def test_a_background_line_is_known_whatever_its_shape(tmp_path: Path, first: str) -> None:
    second = "1 tench" if first[0] == "0" else "tench"
    assert read(tmp_path, f"{first}\n{second}\n").background == 0
    assert read(tmp_path, "tench\nbackground\n").background is None


THREE = Labels(("tench", "goldfish", "hen"), sha256="f00d")
WITH_BACKGROUND = Labels(("background", "tench", "goldfish", "hen"), 0, "f00d")


def test_as_many_names_as_outputs_fit_as_they_are() -> None:
    assert THREE.fitted(3) is THREE
    assert WITH_BACKGROUND.fitted(4) is WITH_BACKGROUND


def test_one_output_more_is_the_background_in_front() -> None:
    assert THREE.fitted(4) == WITH_BACKGROUND


def test_a_background_line_too_many_is_dropped() -> None:
    assert WITH_BACKGROUND.fitted(3) == THREE


@pytest.mark.parametrize(
    ("labels", "outputs"),
    [(THREE, 2), (THREE, 5), (THREE, 0), (THREE, 1000), (WITH_BACKGROUND, 5), (WITH_BACKGROUND, 2)],
)
def test_any_other_number_of_outputs_is_refused(labels: Labels, outputs: int) -> None:
    with pytest.raises(ModelError, match=f"{outputs} outputs .* {len(labels.names)} names .*--labels FILE"):
        labels.fitted(outputs)


def test_stand_in_names_tell_the_index() -> None:
    assert numbered(3).names == ("class 0", "class 1", "class 2")
    assert numbered(3).fitted(3).background is None
