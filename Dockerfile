# syntax=docker/dockerfile:1
# Two targets: `cpu` (embedded OpenVINO engine) and `gpu` (on NVIDIA's TensorRT-LLM release image, tens of
# gigabytes; from your own mirror with --build-arg TENSORRT_LLM_IMAGE=...).
# Both run as a user without rights and write only to /data, /models and /tmp.
ARG TENSORRT_LLM_IMAGE=nvcr.io/nvidia/tensorrt-llm/release:1.2.1

FROM python:3.12.12-slim-trixie AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY requirements/ requirements/
RUN python -m venv /opt/podium \
 && /opt/podium/bin/pip install --require-hashes -r requirements/server.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install hatchling==1.32.0
COPY pyproject.toml README.md LICENSE ./
COPY third_party/ third_party/
COPY protos/ protos/
COPY clients/ clients/
COPY service/ service/
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/podium/bin/pip install --no-deps /dist/*.whl

FROM python:3.12.12-slim-trixie AS cpu
RUN groupadd --gid 10001 podium && useradd --uid 10001 --gid podium --no-create-home --home-dir /data podium \
 && mkdir -p /data /models /workspace && chown podium:podium /data /models /workspace
COPY --from=build /opt/podium /opt/podium
ENV PATH=/opt/podium/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/data \
    PODIUM_ENV=production PODIUM_DATA_DIR=/data PODIUM_STORAGE__MODELS_DIR=/models PODIUM_TOOLS__WORKSPACE=/workspace
USER 10001:10001
WORKDIR /data
VOLUME ["/data", "/models", "/workspace"]
EXPOSE 50051 8000
# Off loopback the server asks for credentials: give it keys, or it says so and stops.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["podium", "health", "--address", "127.0.0.1:50051"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["podium"]
CMD ["serve"]

# TensorRT-LLM comes with its own Python 3.12, CUDA and torch, and with pins that ours contradict (numpy,
# tokenizers, protobuf). So the server has an environment to itself, and engine hosts, which it starts
# as processes of their own, run in a second one that sees the image's packages and adds only the
# wire contract. No resolver ever touches NVIDIA's pins, and the image's pip constraints bind neither.
FROM ${TENSORRT_LLM_IMAGE} AS gpu
COPY requirements/gpu.txt /tmp/gpu.txt
COPY --from=build /dist/ /tmp/dist/
RUN export PIP_CONSTRAINT="" PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
 && awk '/^[a-z]/ { keep = /^(googleapis-common-protos|grpcio|grpcio-health-checking|grpcio-reflection|grpcio-status|prometheus-client|smg-grpc-proto)==/ } keep' \
      /tmp/gpu.txt > /tmp/engine.txt \
 && python3 -m venv /opt/podium \
 && /opt/podium/bin/pip install --require-hashes -r /tmp/gpu.txt \
 && /opt/podium/bin/pip install --no-deps /tmp/dist/*.whl \
 && python3 -m venv --system-site-packages /opt/podium-engine \
 && /opt/podium-engine/bin/pip install --no-deps --require-hashes -r /tmp/engine.txt \
 && /opt/podium-engine/bin/pip install --no-deps /tmp/dist/*.whl \
 && /opt/podium-engine/bin/python -c "import podium.engine" \
 && rm -rf /tmp/gpu.txt /tmp/engine.txt /tmp/dist \
 && groupadd --gid 10001 podium && useradd --uid 10001 --gid podium --no-create-home --home-dir /data podium \
 && mkdir -p /data /models /workspace && chown podium:podium /data /models /workspace
# What kernels are compiled into is kept in /data/.cache, so that a restart does not compile again. Models
# are local folders: nothing is fetched, and nothing is reported, while serving.
ENV PATH=/opt/podium/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/data \
    PODIUM_ENV=production PODIUM_DATA_DIR=/data PODIUM_STORAGE__MODELS_DIR=/models PODIUM_TOOLS__WORKSPACE=/workspace \
    PODIUM_TENSORRT__PYTHON=/opt/podium-engine/bin/python \
    HF_HOME=/data/.cache/huggingface TRITON_CACHE_DIR=/data/.cache/triton \
    TORCHINDUCTOR_CACHE_DIR=/data/.cache/torchinductor \
    HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1
USER 10001:10001
WORKDIR /data
VOLUME ["/data", "/models", "/workspace"]
EXPOSE 50051 8000
# Loading weights, tuning and capturing CUDA graphs take minutes, for the largest models half an hour.
HEALTHCHECK --interval=10s --timeout=5s --start-period=1800s --retries=3 CMD ["podium", "health", "--address", "127.0.0.1:50051"]
STOPSIGNAL SIGTERM
# Instead of the base image's own entry point, which only prints its notices.
ENTRYPOINT ["podium"]
CMD ["serve"]
