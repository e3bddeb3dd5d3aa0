# A worker with an NVIDIA GPU: teacher forwards, clustering with cuML, training. Context: the clone.
FROM nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04

ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3=3.12.* python3-venv=3.12.* \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 dskd \
    && install -d -o dskd /opt/dskd /data /cache
USER 10001
WORKDIR /opt/dskd
ENV PATH=/opt/dskd/.venv/bin:$PATH PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 \
    DSKD_HOME=/data HF_HOME=/cache/huggingface

COPY --chown=10001 constraints.txt requirements-sample.txt ./
RUN python3 -m venv .venv \
    && pip install -c constraints.txt torch==2.13.0 \
    && pip install --no-deps -r requirements-sample.txt

COPY --chown=10001 . .
RUN pip install -c constraints.txt '.[s3,hub,dask,eval,gpu]'

VOLUME /data /cache
CMD ["prefect", "worker", "start", "--pool", "dskd-gpu", "--limit", "1"]
