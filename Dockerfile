# One image, for every command of docker-compose.yml.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TZ=UTC MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true

RUN useradd --uid 10001 --create-home --home-dir /home/forecastle forecastle
WORKDIR /srv/forecastle

COPY requirements.lock pyproject.toml README.md ./
RUN python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock

COPY MLproject conda.yaml ./
COPY forecastle forecastle
COPY projects projects
COPY serving serving
COPY jobs jobs
COPY mlflow_plugin mlflow_plugin
COPY cli cli
COPY expectations expectations
RUN python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -e .

USER 10001
EXPOSE 8700
CMD ["python", "-m", "granian", "--interface", "rsgi", "--factory", "--host", "0.0.0.0", "--port", "8700", \
     "serving.door:create_door"]
