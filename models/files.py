"""Finds, checks and downloads the files of a model. Nothing half-written ever bears a file's name."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from models.catalogue import ModelFile
from models.errors import ModelError

BUILT_IN_DIR = Path(__file__).parent
DOWNLOADS_DIR = BUILT_IN_DIR / "downloads"

TIMEOUT_S = 10.0
"""For the connection, and for each read: a server may be slow, but not silent."""

CHUNK_BYTES = 1 << 16

HASHES = {"sha256": "sha256", "md5": "md5", "git": "sha1"}
"""What a digest in the catalogue begins with, and its hash. Git's is of a header and the file."""

MARKS = {".tflite": (4, b"TFL3"), ".h5": (0, b"\x89HDF\r\n\x1a\n")}
"""By a file's suffix: where its mark is, and the mark. A login page saved under such a name has none."""

State = Literal["ok", "unproven", "wrong", "missing"]
"""Unproven: right as far as anybody can tell, as its publisher states no digest. Ours is in every log."""


class Check(NamedTuple):
    state: State
    reason: str  # what is wrong or unproven, in a few words
    sha256: str = ""  # of what is there, if it could be read

    @property
    def usable(self) -> bool:
        return self.state in ("ok", "unproven")


class Found(NamedTuple):
    path: Path
    sha256: str


def place(file: ModelFile, models_dir: Path | None = None) -> Path:
    """Where the file lies, or would lie. `models_dir` is for what comes later; what is built in stays."""
    if file.url is None and file.made_by is None:
        return BUILT_IN_DIR / file.name
    return (models_dir or DOWNLOADS_DIR) / file.name


def make_command(script: str, path: Path) -> str:
    """What makes the file, from any folder."""
    return f"{sys.executable} {BUILT_IN_DIR.parent / script} {path}"


def find(model: str, file: ModelFile, models_dir: Path | None = None) -> Path:
    """The path of a file that is there and whole: compared just now with its digest, if it has one."""
    return find_hashed(model, file, models_dir).path


def find_hashed(model: str, file: ModelFile, models_dir: Path | None = None) -> Found:
    """Like `find`, with the SHA-256 that the comparison took anyway."""
    path = place(file, models_dir)
    check = verify(file, path)
    if check.usable:
        return Found(path, check.sha256)
    what = f"{model}: {path} is {check.state} ({check.reason})"
    if file.made_by is not None:
        raise ModelError(f"{what} - it is made here, type: {make_command(file.made_by, path)}")
    if file.url is None:
        raise ModelError(f"{what} - it is part of Labelcam, type: git checkout -- {path}")
    raise ModelError(f"{what} - type: {pull_command(model)}")


def verify(file: ModelFile, path: Path) -> Check:
    """Whether `path` holds the file, by size and digest. Reads it once; about 3 ms for a model of 5 MB."""
    kind, _, published = (file.digest or "").partition(":")
    try:
        size = path.stat().st_size
        if file.size is not None and size != file.size:
            return Check("wrong", f"{size:,} bytes instead of {file.size:,}")
        if not kind and not marked(path):
            return Check("wrong", f"its content is not that of a {path.suffix} file")
        hashes = hashes_of(path, {"sha256", kind} - {""})
    except (FileNotFoundError, NotADirectoryError):
        return Check("missing", "no such file")
    except OSError as error:
        return Check("wrong", f"cannot read it: {error.strerror}")
    if not kind:
        return Check("unproven", "its publisher states no digest", hashes["sha256"])
    if hashes[kind] != published:
        return Check("wrong", f"its {kind} is {hashes[kind][:12]}… instead of {published[:12]}…")
    return Check("ok", "", hashes["sha256"])


def marked(path: Path) -> bool:
    """Whether the file begins as its suffix promises."""
    offset, mark = MARKS.get(path.suffix, (0, b""))
    with path.open("rb") as stream:
        return stream.read(offset + len(mark))[offset:] == mark


def hashes_of(path: Path, kinds: Collection[str]) -> dict[str, str]:
    """Hexadecimal, by kind (see `HASHES`), in one reading."""
    # Not for security: some systems refuse MD5 and SHA-1 otherwise, and publishers give nothing better.
    hashes = {kind: hashlib.new(HASHES[kind], usedforsecurity=False) for kind in kinds}
    if "git" in hashes:
        hashes["git"].update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            for digest in hashes.values():
                digest.update(chunk)
    return {kind: digest.hexdigest() for kind, digest in hashes.items()}


def sha256_of(path: Path) -> str:
    """Of a file, what `sha256sum` says. Of a folder (a SavedModel), of what `sha256sum` would print: a line
    "hash  relative/name" for every file in it, in order of name."""
    if not path.is_dir():
        return hashes_of(path, ["sha256"])["sha256"]
    files = sorted(inside.relative_to(path).as_posix() for inside in path.rglob("*") if inside.is_file())
    lines = "".join(f"{sha256_of(path / name)}  {name}\n" for name in files)
    return hashlib.sha256(os.fsencode(lines)).hexdigest()


def pull(model: str, file: ModelFile, models_dir: Path | None = None, timeout_s: float = TIMEOUT_S) -> bool:
    """Download the file unless it is there and right; True if it was downloaded. Shows a bar on stderr.

    The file takes its name only when it is whole and right; a pull that fails changes nothing.
    """
    path = place(file, models_dir)
    if verify(file, path).usable:
        return False
    if file.url is None:
        find(model, file)  # says what to do about a damaged checkout
        return False
    try:
        return fetch(model, file, file.url, path, timeout_s)
    except OSError as error:  # what requests raises is an OSError too
        raise ModelError(f"{model}: {explain(error, model, file.url, path, timeout_s)}") from error


def fetch(model: str, file: ModelFile, url: str, path: Path, timeout_s: float) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    with workshop(path.parent) as folder:
        if verify(file, path).usable:  # another pull was faster
            return False
        part = folder / path.name
        download(url, part, file.size, timeout_s)
        check = verify(file, part)
        if not check.usable:
            raise ModelError(
                f"{model}: {urlsplit(url).netloc} sent something else than the known file, {check.reason}"
                f" - is there a login page or a proxy in between? Then type: {pull_command(model)}"
            )
        part.replace(path)
    return True


@contextmanager
def workshop(directory: Path) -> Iterator[Path]:
    """A folder on the same disk for what is not finished, one process at a time.

    What a killed process left is removed by the next.
    """
    folder = directory / ".pull"
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # outside the inner try: until it is ours, the folder is another's
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def download(url: str, path: Path, size: int | None, timeout_s: float) -> None:
    try:
        from pooch import HTTPDownloader
        from tqdm import tqdm
    except ImportError as error:
        raise ModelError(f"pulling needs {error.name} - type: pip install -r requirements.txt") from error

    class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
        """Pooch takes a bar that is not true for none, and asks again when the server gave no length."""

        def __bool__(self) -> bool:
            return True

        def reset(self, total: float | None = None) -> None:
            """Pooch fills its bar in the end; one without a total is to stay at what came."""
            if self.total:
                super().reset(total)

    # When a download breaks, pooch leaves open its bar, and the message lands behind it, and the connection.
    with ExitStack() as stack:
        bar = stack.enter_context(
            Bar(desc=path.name, total=size, unit="B", unit_scale=True, ncols=79, disable=None)
        )

        def watch(answer: Any, **_: Any) -> None:
            stack.callback(answer.close)
            answer.raw.enforce_content_length = True  # urllib3 1.x takes a cut-off body for a whole one

        fetch_url = HTTPDownloader(bar, CHUNK_BYTES, timeout=timeout_s, hooks={"response": watch})
        fetch_url(url, str(path), None)


def explain(error: OSError, model: str, url: str, path: Path, timeout_s: float) -> str:
    """What happened and what to type now, in one line."""
    import requests  # pooch needs it, so it is there

    host, again = urlsplit(url).netloc, pull_command(model)
    if isinstance(error, requests.HTTPError):
        status = error.response.status_code if error.response is not None else 0
        if 400 <= status < 500:
            return f"{url} answers {status}: moved or gone - for others type: python run.py models list"
        return f"{host} has trouble of its own ({status}) - later, type: {again}"
    if isinstance(error, requests.Timeout):
        return f"{host} did not answer for {timeout_s:g} s - check the network, then type: {again}"
    if isinstance(error, requests.exceptions.SSLError):  # a board without a battery wakes up in 1970
        return f"the certificate of {host} is refused - check this machine's clock (date), then type: {again}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return f"the download from {host} broke off - type again: {again}"
    if isinstance(error, requests.ConnectionError):
        return f"no connection to {host} - check the network, then type: {again}"
    if isinstance(error, requests.RequestException):
        return f"cannot download {url} ({type(error).__name__}) - check the network, then type: {again}"
    return f"cannot write {path} ({error.strerror}) - see to the disk or its permissions, then type: {again}"


def pull_command(model: str) -> str:
    return f"python run.py models pull {model}"
