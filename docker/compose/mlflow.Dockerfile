# The MLflow server with drivers for Postgres and S3. The version is the one that requirements.lock pins for the clients.
ARG BASE=python:3.11-slim
FROM ${BASE}
RUN pip install --no-cache-dir mlflow==3.17.2 boto3==1.44.5 psycopg2-binary==2.9.13 \
    && useradd --uid 1000 --no-create-home mlflow
USER 1000
