# A worker with an NVIDIA GPU: teacher forwards, clustering with cuML, training. Context: the clone.
# The Python of the CPU image, with which the tests run; CUDA's libraries come as packages, with
# hashes, so the host gives the driver alone.
FROM python:3.11.14-slim-bookworm

RUN useradd --create-home --uid 10001 dskd \
    && install -d -o dskd /opt/dskd /data /cache
USER 10001
WORKDIR /opt/dskd
ENV PATH=/opt/dskd/.venv/bin:$PATH PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 \
    DSKD_HOME=/data HF_HOME=/cache/huggingface \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

COPY --chown=10001 constraints.txt ./
COPY --chown=10001 infra/locks infra/locks
RUN python -m venv .venv \
    && pip install --require-hashes -r infra/locks/build.txt \
    && pip install --require-hashes --no-deps --no-build-isolation \
        -r infra/locks/worker.txt -r infra/locks/cuda.txt -r infra/locks/sample.txt

COPY --chown=10001 . .
RUN pip install -c constraints.txt --no-build-isolation '.[s3,hub,dask,eval,gpu]'

VOLUME /data /cache
CMD ["prefect", "worker", "start", "--pool", "dskd-gpu", "--limit", "1"]
