"""The Dockerfile, the compose file and the manifests agree with the settings and with each other."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from podium.settings import Settings, check_bind, load_settings
from podium.v1 import health_pb2

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "deploy" / "compose"
KUBERNETES = ROOT / "deploy" / "kubernetes"
TARGETS = ("cpu", "gpu")
DEFAULTS = Settings()
GRPC_PORT = int(DEFAULTS.server.listen[0].rpartition(":")[2])
OPS_PORT = int(DEFAULTS.ops.listen.rpartition(":")[2])
USER = 10001


# --- what the files say -------------------------------------------------------------------------


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def manifest(target: str, kind: str) -> dict[str, Any]:
    """Return the one document of this kind."""
    found = [
        document
        for path in sorted((KUBERNETES / target).glob("*.yaml"))
        for document in documents(path)
        if document["kind"] == kind
    ]
    assert len(found) == 1, (target, kind)
    return found[0]


def pod(target: str) -> dict[str, Any]:
    spec: dict[str, Any] = manifest(target, "StatefulSet")["spec"]["template"]["spec"]
    return spec


def container(target: str) -> dict[str, Any]:
    (one,) = pod(target)["containers"]
    found: dict[str, Any] = one
    return found


def services() -> dict[str, Any]:
    (document,) = documents(COMPOSE / "compose.yaml")
    found: dict[str, Any] = document["services"]
    return found


def podiums() -> dict[str, Any]:
    return {name: service for name, service in services().items() if name.startswith("podium-")}


def stage(target: str) -> list[str]:
    """Return the instructions of one target of the Dockerfile, a line each."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    begin = next(index for index, line in enumerate(lines) if re.fullmatch(rf"FROM \S+ AS {target}", line))
    end = next((i for i in range(begin + 1, len(lines)) if lines[i].startswith("FROM ")), len(lines))
    return lines[begin + 1 : end]


def image_environment(target: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in stage(target):
        if line.startswith("ENV "):
            found |= dict(part.split("=", 1) for part in shlex.split(line[4:]))
    return found


def one_instruction(target: str, name: str) -> str:
    (line,) = [line for line in stage(target) if line.startswith(f"{name} ")]
    return line.removeprefix(f"{name} ")


def podium_only(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what Podium reads; the file itself is given by path, since it lies elsewhere here."""
    ours = {name: value for name, value in environment.items() if name.startswith(("PODIUM_", "REMOTE_"))}
    return {name: value for name, value in ours.items() if name != "PODIUM_CONFIG"}


def deployments() -> Iterator[tuple[str, str, dict[str, str], Path, set[str]]]:
    """Yield each way to run: a name, the target, its variables, its configuration, what may be written to."""
    for name, service in podiums().items():
        target = service["build"]["target"]
        mounts = [mount.split(":") for mount in service["volumes"]]
        (config,) = [mount[0] for mount in mounts if mount[1] == "/etc/podium/podium.toml"]
        writable = {mount[-1] for mount in mounts if mount[-1] != "ro"}
        writable |= {mount.split(":")[0] for mount in service["tmpfs"]}
        yield f"compose {name}", target, service["environment"], COMPOSE / config, writable
    for target in TARGETS:
        variables = {one["name"]: one["value"] for one in container(target)["env"]}
        writable = {one["mountPath"] for one in container(target)["volumeMounts"] if not one.get("readOnly")}
        yield f"kubernetes {target}", target, variables, KUBERNETES / target / "podium.toml", writable


WAYS = list(deployments())


# --- every way to run ---------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "variables", "config", "writable"), [w[1:] for w in WAYS], ids=[w[0] for w in WAYS])
def test_the_server_would_start_with_what_it_is_given(
    target: str, variables: dict[str, str], config: Path, writable: set[str]
) -> None:
    environment = podium_only(image_environment(target)) | podium_only(variables)
    settings = load_settings(config=config, environ=environment).settings
    check_bind(settings)
    assert settings.auth.enabled
    assert settings.auth.health_open, "probes carry no key"
    assert [int(address.rpartition(":")[2]) for address in settings.server.listen] == [GRPC_PORT]
    assert int(settings.ops.listen.rpartition(":")[2]) == OPS_PORT
    # The root file system is read-only: everything that is written to has to be mounted.
    assert {str(settings.storage.data_dir), str(settings.tools.workspace), "/tmp"} <= writable
    assert variables["PODIUM_CONFIG"] == "/etc/podium/podium.toml"


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_without_rights_and_ends_politely(target: str) -> None:
    environment = image_environment(target)
    volumes = set(yaml.safe_load(one_instruction(target, "VOLUME")))
    named = {environment[name] for name in ("PODIUM_DATA_DIR", "PODIUM_STORAGE__MODELS_DIR", "PODIUM_TOOLS__WORKSPACE")}
    assert one_instruction(target, "USER") == f"{USER}:{USER}"
    assert one_instruction(target, "STOPSIGNAL") == "SIGTERM"
    assert one_instruction(target, "ENTRYPOINT") == '["podium"]', "a shell in between would keep the signal"
    assert one_instruction(target, "EXPOSE") == f"{GRPC_PORT} {OPS_PORT}"
    assert f"127.0.0.1:{GRPC_PORT}" in one_instruction(target, "HEALTHCHECK")
    assert volumes == named


def test_the_gpu_image_has_two_environments_and_the_server_knows_the_engines() -> None:
    (build,) = [line for line in stage("gpu") if line.startswith("RUN ")]
    python = image_environment("gpu")["PODIUM_TENSORRT__PYTHON"]
    folder = python.removesuffix("/bin/python")
    assert f"python3 -m venv --system-site-packages {folder} " in build
    assert "python3 -m venv /opt/podium " in build, "the server sees nothing of the image's packages"
    wanted = re.search(r"keep = /\^\(([^)]*)\)==/", build)
    assert wanted is not None
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / "gpu.txt").read_text(), re.MULTILINE))
    assert set(wanted.group(1).split("|")) <= locked
    # These are NVIDIA's to pin in the engine's environment.
    assert not {"numpy", "tokenizers", "protobuf", "pydantic", "huggingface-hub"} & set(wanted.group(1).split("|"))


def test_what_the_gpu_image_compiles_outlives_the_container() -> None:
    environment = image_environment("gpu")
    data = environment["PODIUM_DATA_DIR"]
    assert environment["HOME"] == data, "FlashInfer keeps its kernels under the home directory"
    for name in ("HF_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        assert environment[name].startswith(f"{data}/"), name


# --- compose ------------------------------------------------------------------------------------


def test_compose_has_the_profiles_and_publishes_on_loopback_only() -> None:
    profiles = {profile for service in podiums().values() for profile in service["profiles"]}
    assert profiles == {"cpu", "gpu", "ollama"}
    for name, service in services().items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
            assert port.endswith(f":{GRPC_PORT}"), name


@pytest.mark.parametrize("name", sorted(podiums()))
def test_a_compose_service_is_hardened(name: str) -> None:
    service = podiums()[name]
    assert service["read_only"] is True
    assert service["user"] == f"{USER}:{USER}"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True, "nobody else reaps what MPI leaves behind"
    assert "privileged" not in service
    assert int(service["stop_grace_period"].removesuffix("s")) > DEFAULTS.shutdown.seconds
    assert {"limits", "reservations"} <= set(service["deploy"]["resources"])


def test_the_gpu_service_gets_what_tensorrt_llm_needs() -> None:
    service = podiums()["podium-gpu"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]
    assert service["shm_size"] == "8gb"
    assert service["ulimits"]["memlock"] == {"soft": -1, "hard": -1}
    assert service["ulimits"]["stack"] == {"soft": 67108864, "hard": 67108864}


def test_ollama_answers_podium_and_has_no_way_out() -> None:
    (document,) = documents(COMPOSE / "compose.yaml")
    ollama, podium = document["services"]["ollama"], document["services"]["podium-ollama"]
    assert ollama["networks"] == ["back"]
    assert document["networks"]["back"] == {"internal": True}
    assert "back" in podium["networks"]
    assert "ollama_data:/root/.ollama" in ollama["volumes"]
    settings = load_settings(config=COMPOSE / "ollama.toml", environ={"REMOTE_LLM_ENABLED": "true"}).settings
    (model,) = settings.models.values()
    assert model.kind == "openai"
    assert model.base_url == "http://ollama:11434/v1", "the name of the service, and Ollama's port"
    assert podium["environment"]["REMOTE_LLM_ENABLED"] == "true"


# --- Kubernetes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_a_kustomization_lists_every_manifest(target: str) -> None:
    folder = KUBERNETES / target
    kustomization = manifest(target, "Kustomization")
    listed = set(kustomization["resources"])
    assert listed == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    (config,) = kustomization["configMapGenerator"]
    (volume,) = [one for one in pod(target)["volumes"] if one["name"] == "config"]
    assert config["name"] == volume["configMap"]["name"]
    assert all((folder / name).is_file() for name in config["files"])


@pytest.mark.parametrize("target", TARGETS)
def test_a_pod_is_hardened_and_has_time_to_end(target: str) -> None:
    spec = pod(target)
    context = spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert {context[name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {USER}
    assert context["fsGroupChangePolicy"] == "OnRootMismatch", "else the key file is opened to the group"
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["terminationGracePeriodSeconds"] > DEFAULTS.shutdown.seconds + 5
    for one in (*spec["containers"], *spec.get("initContainers", ())):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= set(one["resources"])
        mounted = {mount["name"] for mount in one["volumeMounts"]}
        claims = manifest(target, "StatefulSet")["spec"]["volumeClaimTemplates"]
        assert mounted <= {one["name"] for one in spec["volumes"]} | {one["metadata"]["name"] for one in claims}


@pytest.mark.parametrize("target", TARGETS)
def test_probes_ask_the_right_question_on_the_right_port(target: str) -> None:
    one = container(target)
    assert {port["name"]: port["containerPort"] for port in one["ports"]} == {"grpc": GRPC_PORT, "ops": OPS_PORT}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert one[name]["grpc"]["port"] == GRPC_PORT
        assert one[name]["timeoutSeconds"] < one[name]["periodSeconds"]
    # Ready means that the default model can answer; alive must not depend on any model.
    assert "service" not in one["readinessProbe"]["grpc"]
    assert "service" not in one["startupProbe"]["grpc"]
    health = health_pb2.DESCRIPTOR.services_by_name["HealthService"].full_name
    assert one["livenessProbe"]["grpc"]["service"] == health
    loading = DEFAULTS.tensorrt.start_seconds if target == "gpu" else DEFAULTS.engine.start_seconds
    assert one["startupProbe"]["periodSeconds"] * one["startupProbe"]["failureThreshold"] >= loading
    stuck = one["livenessProbe"]["periodSeconds"] * one["livenessProbe"]["failureThreshold"]
    assert stuck > DEFAULTS.health.stuck_seconds


@pytest.mark.parametrize("target", TARGETS)
def test_service_budget_and_policy_select_the_pods(target: str) -> None:
    labels = manifest(target, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    service, budget, policy = (
        manifest(target, kind)["spec"] for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy")
    )
    assert manifest(target, "StatefulSet")["spec"]["selector"]["matchLabels"] == labels
    assert service["selector"] == labels
    assert budget["selector"]["matchLabels"] == labels
    assert policy["podSelector"]["matchLabels"] == labels
    assert budget["maxUnavailable"] == 1
    assert {port["name"]: port["port"] for port in service["ports"]} == {"grpc": GRPC_PORT, "ops": OPS_PORT}
    assert manifest(target, "Service")["metadata"]["name"] == manifest(target, "StatefulSet")["spec"]["serviceName"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    opened = {port["port"]: rule for rule in policy["ingress"] for port in rule["ports"]}
    assert set(opened) == {GRPC_PORT, OPS_PORT}
    assert all(rule["from"] for rule in opened.values())


def test_the_gpu_pod_gets_what_tensorrt_llm_needs() -> None:
    assert container("gpu")["resources"]["limits"]["nvidia.com/gpu"] == 1
    (shm,) = [one for one in pod("gpu")["volumes"] if one["name"] == "shm"]
    assert shm["emptyDir"]["medium"] == "Memory"
    assert {"name": "shm", "mountPath": "/dev/shm"} in container("gpu")["volumeMounts"]
    assert manifest("gpu", "NetworkPolicy")["spec"]["egress"] == []
    settings = load_settings(config=KUBERNETES / "gpu" / "podium.toml", environ={}).settings
    (model,) = settings.models.values()
    assert model.kind == "embedded"
    assert model.engine == "tensorrt_llm"
    assert settings.tensorrt.tensor_parallel_size == container("gpu")["resources"]["limits"]["nvidia.com/gpu"]


@pytest.mark.parametrize("target", TARGETS)
def test_both_ways_to_run_a_target_have_one_configuration(target: str) -> None:
    assert (COMPOSE / f"{target}.toml").read_bytes() == (KUBERNETES / target / "podium.toml").read_bytes()
