# syntax=docker/dockerfile:1
# One target for each process: service (no torch), migrate, trainer, judge. Tried without an engine by
# tests/integration/test_images.py, which runs the pip lines below in fresh environments.

FROM python:3.11-slim-bookworm AS base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# /var/lib/rankloop is where the volumes are mounted; a fresh named volume takes over its owner.
RUN groupadd --gid 10001 rankloop \
    && useradd --uid 10001 --gid rankloop --create-home rankloop \
    && install --directory --owner rankloop --group rankloop \
        /var/lib/rankloop/artifacts /var/lib/rankloop/cache /var/lib/rankloop/judge
WORKDIR /app
# What pip reads, and no more: a change of the code below reuses the layer with the dependencies.
COPY LICENSE README.md constraints.txt pyproject.toml ./
COPY rankloop rankloop


FROM base AS service
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt ".[service]"
COPY contract contract
COPY service service
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:8000/healthz').raise_for_status()"]
CMD ["python", "-m", "service"]


FROM service AS migrate
COPY migrations migrations
HEALTHCHECK NONE
CMD ["python", "-m", "migrations"]


FROM base AS trainer
# The small CPU build of torch: --build-arg PIP_EXTRA_INDEX_URL=(the CPU index that PyTorch's install page names).
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt ".[service,trainer]"
COPY contract contract
COPY trainer trainer
USER 10001:10001
EXPOSE 9091
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:9091/metrics').raise_for_status()"]
CMD ["python", "-m", "trainer"]


FROM base AS judge
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt ".[judge]"
COPY judge judge
USER 10001:10001
EXPOSE 9092
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:9092/metrics').raise_for_status()"]
CMD ["python", "-m", "judge"]
