# docker build -t npcserver .
# docker run -p 8000:8000 -e NPCSERVER_SECRET=… -v npc-models:/models -v npc-data:/data npcserver

FROM python:3.11-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY Makefile pyproject.toml constraints.txt README.md LICENSE ./
COPY npcserver npcserver
COPY finetune finetune
RUN make install

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 npcserver \
    && mkdir /models /data \
    && chown npcserver:npcserver /models /data
WORKDIR /app
# Scripts in a virtual environment hold its path, so it stays where it was made.
COPY --from=build /app/.venv .venv
COPY scenes scenes
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NPCSERVER_HOST=0.0.0.0 \
    NPCSERVER_PORT=8000 \
    NPCSERVER_CACHE=/models \
    NPCSERVER_DATA=/data
USER npcserver
VOLUME ["/models", "/data"]
EXPOSE 8000
# The first start fetches and converts the model before the port opens.
HEALTHCHECK --interval=30s --timeout=5s --start-period=300s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"NPCSERVER_PORT\"]}/healthz', timeout=4)"]
ENTRYPOINT ["npcserver", "serve", "--pull"]
