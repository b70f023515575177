# syntax=docker/dockerfile:1
# Two targets: `cpu` (embedded OpenVINO engine) and `gpu` (NVIDIA's TensorRT-LLM release image, from
# wherever you keep it: --build-arg TENSORRT_LLM_IMAGE=...).
# Both run as a user without rights and write only to /data, /models and /tmp.
ARG TENSORRT_LLM_IMAGE=tensorrt-llm/release:1.2.1

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
    PODIUM_ENV=production PODIUM_DATA_DIR=/data PODIUM_STORAGE__MODELS_DIR=/models
USER 10001:10001
WORKDIR /data
VOLUME ["/data", "/models", "/workspace"]
EXPOSE 50051 8000
# Off loopback the server asks for credentials: give it keys, or it says so and stops.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["podium", "health", "--address", "127.0.0.1:50051"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["podium"]
CMD ["serve"]

# TensorRT-LLM comes with its own Python 3.12, CUDA and torch; ours lives in an environment beside it
# and sees those packages, so that no resolver ever touches NVIDIA's pins.
FROM ${TENSORRT_LLM_IMAGE} AS gpu
COPY requirements/gpu.txt /tmp/gpu.txt
COPY --from=build /dist/ /tmp/dist/
RUN python3 -m venv /opt/podium \
 && /opt/podium/bin/pip install --no-cache-dir --require-hashes -r /tmp/gpu.txt \
 && /opt/podium/bin/pip install --no-cache-dir --no-deps /tmp/dist/*.whl \
 && rm -rf /tmp/gpu.txt /tmp/dist \
 && groupadd --gid 10001 podium && useradd --uid 10001 --gid podium --no-create-home --home-dir /data podium \
 && mkdir -p /data /models /workspace && chown podium:podium /data /models /workspace
ENV PATH=/opt/podium/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/data \
    PODIUM_ENV=production PODIUM_DATA_DIR=/data PODIUM_STORAGE__MODELS_DIR=/models
USER 10001:10001
WORKDIR /data
VOLUME ["/data", "/models", "/workspace"]
EXPOSE 50051 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 CMD ["podium", "health", "--address", "127.0.0.1:50051"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["podium"]
CMD ["serve"]
