# A worker without a GPU: lexicons, relations, words, reports. Context: the root of the clone.
FROM python:3.11.14-slim-bookworm

RUN useradd --create-home --uid 10001 dskd \
    && install -d -o dskd /opt/dskd /data /cache
USER 10001
WORKDIR /opt/dskd
ENV PATH=/opt/dskd/.venv/bin:$PATH PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 \
    DSKD_HOME=/data HF_HOME=/cache/huggingface

# All but torch comes with hashes. torch's CPU build lies in an index of its own, which is asked for
# torch alone: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu. Without it pip takes the
# larger CUDA build, which runs on a CPU too.
ARG TORCH_INDEX=https://pypi.org/simple
COPY --chown=10001 constraints.txt ./
COPY --chown=10001 infra/locks infra/locks
RUN python -m venv .venv \
    && pip install --require-hashes -r infra/locks/build.txt \
    && pip install --require-hashes --no-deps --no-build-isolation \
        -r infra/locks/worker.txt -r infra/locks/sample.txt \
    && pip install -c constraints.txt --index-url "$TORCH_INDEX" torch==2.13.0

COPY --chown=10001 . .
RUN pip install -c constraints.txt --no-build-isolation '.[s3,hub,dask,eval]'

VOLUME /data /cache
CMD ["prefect", "worker", "start", "--pool", "dskd-cpu"]
