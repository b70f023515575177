"""How a client is set up, what it exports, and that it needs the base install only."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

import podium_client
from podium_client import AsyncPodium, Podium, RunState, Tls
from podium_client._channel import Endpoint, service_config
from podium_client._correlation import mint
from unit.client.fake_podium import FakePodium, serving

EXPORTS = [
    "AlreadyExists",
    "AsyncPodium",
    "AsyncRunStream",
    "AsyncRunWatch",
    "AsyncTextStream",
    "AsyncTokenStream",
    "BudgetExhausted",
    "CallPredicted",
    "CallWaits",
    "Cancelled",
    "ChatResult",
    "Clarification",
    "ClarificationPage",
    "ClarificationState",
    "DeadlineExceeded",
    "ExplainedCall",
    "ExplainedPrediction",
    "ExplainedTurn",
    "FailedPrecondition",
    "Generation",
    "GenerationPart",
    "HealthComponent",
    "HealthReport",
    "HealthStatus",
    "Internal",
    "InvalidRequest",
    "Message",
    "ModelAttempt",
    "ModelCall",
    "ModelInfo",
    "ModelTurnFinished",
    "ModelTurnStarted",
    "NotFound",
    "PathSegment",
    "PathSegmentKind",
    "PermissionDenied",
    "Podium",
    "PodiumError",
    "Prediction",
    "PredictionSettled",
    "QuestionAsked",
    "QuestionKind",
    "QuestionSettled",
    "ReasoningPart",
    "ResourceExhausted",
    "ResultSource",
    "RunError",
    "RunEvent",
    "RunExplanation",
    "RunFailed",
    "RunFinished",
    "RunLimits",
    "RunPage",
    "RunResult",
    "RunStarted",
    "RunState",
    "RunStream",
    "RunWatch",
    "SideEffects",
    "SimulatedCall",
    "SimulatedTurn",
    "Simulation",
    "TextDelta",
    "TextPart",
    "TextStream",
    "TimeTotals",
    "Tls",
    "TokenCount",
    "TokenStream",
    "ToolCall",
    "ToolCallFailure",
    "ToolCallFinished",
    "ToolCallRetried",
    "ToolCallSealed",
    "ToolCallStarted",
    "ToolCallState",
    "ToolDefinition",
    "ToolExample",
    "ToolInfo",
    "ToolTotal",
    "TurnFinishReason",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "Usage",
    "Verdict",
    "Violation",
    "WindDown",
    "WindDownCause",
    "WindDownStarted",
    "correlation",
]


def test_the_exported_names_are_these() -> None:
    assert podium_client.__all__ == EXPORTS
    assert all(hasattr(podium_client, name) for name in EXPORTS)


def test_the_client_imports_with_the_base_install_only() -> None:
    """Nothing of the server extra may be imported, so that `pip install podium` is enough."""
    script = (
        "import sys, podium_client;"
        "extra = {'pydantic', 'structlog', 'rich', 'typer', 'orjson', 'protovalidate', 'httpx', 'numpy', 'uvloop',"
        " 'openvino', 'pint', 'tokenizers', 'jinja2'};"
        "found = sorted(name for name in sys.modules if name.split('.')[0] in extra"
        " or name.startswith('podium.') and not name.startswith('podium.v1'));"
        "print(found); sys.exit(bool(found))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_sync_and_the_async_client_have_the_same_methods() -> None:
    def public(cls: type) -> set[str]:
        return {name for name in vars(cls) if not name.startswith("_")}

    assert public(AsyncPodium) == public(Podium)


def test_retries_name_only_what_may_be_repeated() -> None:
    (entry,) = json.loads(service_config())["methodConfig"]
    assert entry["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    names = {(name["service"].rpartition(".")[2], name.get("method", "*")) for name in entry["name"]}
    assert names == {
        ("OrchestratorService", "*"),
        ("ClarificationService", "ListClarifications"),
        ("ClarificationService", "GetClarification"),
        ("ToolService", "ListTools"),
        ("ToolService", "GetTool"),
        ("InferenceService", "ListModels"),
        ("InferenceService", "CountTokens"),
        ("HealthService", "*"),
    }


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:50051", "https://example.org"])
def test_an_address_is_not_a_url(address: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        Podium.connect(address)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), timedelta(0)])
def test_a_deadline_is_positive_and_finite(timeout: float | timedelta) -> None:
    with pytest.raises(ValueError, match="deadline"):
        Podium.connect(timeout=timeout)


def test_an_api_key_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="line break"):
        Podium.connect(api_key="pdm_a_b\n")


def test_secrets_do_not_show() -> None:
    endpoint = Endpoint.of("127.0.0.1:1", "pdm_secret", Tls(private_key=b"k3y", certificate_chain=b"c"), 1, False)
    shown = repr(endpoint) + repr(endpoint.call(None, None))
    assert "pdm_secret" not in shown
    assert "k3y" not in shown


def test_a_list_is_not_a_string() -> None:
    with Podium.connect() as podium, pytest.raises(TypeError, match="list of names"):
        podium.run("x", tools="calculate")
    with Podium.connect() as podium, pytest.raises(TypeError, match="list of texts"):
        podium.generate("x", stop="\n")


def test_a_state_from_the_future_is_unspecified() -> None:
    assert RunState.of(4) is RunState.SUCCEEDED
    assert RunState.of(99) is RunState.UNSPECIFIED


def test_ids_sort_by_time_and_are_unique() -> None:
    ids = [mint("req") for _ in range(100)]
    assert len(set(ids)) == 100
    assert all(len(each) == 30 for each in ids)


async def test_tls_with_a_private_root(tmp_path: Path) -> None:
    key, certificate = self_signed()
    (tmp_path / "root.pem").write_bytes(certificate)
    tls = Tls.from_files(root_certificates=tmp_path / "root.pem", server_name="localhost")
    credentials = grpc.ssl_server_credentials([(key, certificate)])
    async with serving(FakePodium(), credentials) as fake:
        async with AsyncPodium.connect(fake.address, tls=tls) as podium:
            assert (await podium.run("x")).ok

        def call() -> bool:
            with Podium.connect(fake.address, tls=tls) as sync:
                return sync.run("x").ok

        assert await asyncio.to_thread(call)


def test_mtls_needs_both_halves() -> None:
    with pytest.raises(ValueError, match="both"):
        Tls(private_key=b"x")


def self_signed() -> tuple[bytes, bytes]:
    """Return a key and a certificate for `localhost`."""
    from datetime import UTC, datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, certificate.public_bytes(serialization.Encoding.PEM)
