"""The contract itself: stubs match the protos, every read says so, and other copies of our imports do no harm."""

from __future__ import annotations

import filecmp
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from podium.v1 import (
    clarification_pb2,
    error_reason_pb2,
    explanation_pb2,
    health_pb2,
    inference_pb2,
    orchestrator_pb2,
    run_pb2,
    tool_pb2,
)

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    clarification_pb2,
    error_reason_pb2,
    explanation_pb2,
    health_pb2,
    inference_pb2,
    orchestrator_pb2,
    run_pb2,
    tool_pb2,
)
SERVICES = [service for module in MODULES for service in module.DESCRIPTOR.services_by_name.values()]
GENERATOR = ROOT / ".venv-proto" / "bin" / "python"

_LOAD_OTHER_COPY = """
import sys
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, field_mask_pb2, timestamp_pb2
raw = open(sys.argv[1], "rb").read()
descriptor_pool.Default().AddSerializedFile(raw)
from podium.v1 import orchestrator_pb2
import protovalidate
try:
    protovalidate.validate(orchestrator_pb2.GetRunRequest(run_id="nonsense"))
except protovalidate.ValidationError as error:
    print("rule", error.violations[0].proto.rule_id)
"""


@pytest.mark.timeout(420)
def test_stubs_match_the_protos(tmp_path: Path) -> None:
    """Generating anew gives byte for byte what is committed (`make proto` when it does not)."""
    subprocess.run(["make", "--silent", ".venv-proto/.installed"], cwd=ROOT, check=True, timeout=300)
    subprocess.run([GENERATOR, "scripts/generate_stubs.py", "--out", tmp_path], cwd=ROOT, check=True, timeout=120)
    generated = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*_pb2*.py*"))
    committed = sorted(
        p.relative_to(ROOT / "service")
        for package in ("podium/v1", "buf")
        for p in (ROOT / "service" / package).rglob("*_pb2*.py*")
        if p.suffix in (".py", ".pyi")
    )
    assert generated == committed
    _, different, missing = filecmp.cmpfiles(tmp_path, ROOT / "service", map(str, generated), shallow=False)
    assert not different
    assert not missing


@pytest.mark.parametrize(
    "method", [method for service in SERVICES for method in service.methods], ids=lambda m: m.full_name
)
def test_reads_declare_that_they_change_nothing(method: object) -> None:
    """What only looks is NO_SIDE_EFFECTS; what may be said twice is IDEMPOTENT; the rest declare nothing."""
    name, level = method.name, method.GetOptions().idempotency_level  # type: ignore[attr-defined]
    options = descriptor_pb2.MethodOptions
    if re.match(r"(Get|List|Count|Check|Live|Ready|Watch|Explain|Simulate)", name):
        assert level == options.NO_SIDE_EFFECTS
    elif re.match(r"(Cancel|Answer|Skip)", name):
        assert level == options.IDEMPOTENT
    else:
        assert level == options.IDEMPOTENCY_UNKNOWN


def test_error_reasons_of_the_code_are_in_the_contract() -> None:
    """Every reason that the service's source names is a value of `ErrorReason`."""
    known = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118
    used = set()
    for path in (ROOT / "service" / "podium").rglob("*.py"):
        if "v1" not in path.parts:
            used |= set(re.findall(r'\breason(?::[^=\n]*)?="([A-Z_]+)"', path.read_text(encoding="utf-8")))
            used |= set(re.findall(r'default_reason[^=\n]*= "([A-Z_]+)"', path.read_text(encoding="utf-8")))
    assert used
    assert used <= known


def _import_beside(tmp_path: Path, file: descriptor_pb2.FileDescriptorProto) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "other.binpb"
    path.write_bytes(file.SerializeToString())
    command = [sys.executable, "-c", _LOAD_OTHER_COPY, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_same_copy_of_validate_proto_in_the_process_is_fine(tmp_path: Path) -> None:
    """A caller that loaded the very same rules first can import our stubs and validate."""
    from buf.validate import validate_pb2

    file = descriptor_pb2.FileDescriptorProto()
    validate_pb2.DESCRIPTOR.CopyToProto(file)
    done = _import_beside(tmp_path, file)
    assert (done.returncode, done.stdout) == (0, "rule string.pattern\n"), done.stderr


def test_other_version_of_validate_proto_in_the_process_is_adopted(tmp_path: Path) -> None:
    """A caller that loaded another version first can import our stubs and validate all the same."""
    from buf.validate import validate_pb2

    file = descriptor_pb2.FileDescriptorProto()
    validate_pb2.DESCRIPTOR.CopyToProto(file)
    file.message_type.add(name="SomethingNewer")
    done = _import_beside(tmp_path, file)
    assert (done.returncode, done.stdout) == (0, "rule string.pattern\n"), done.stderr
