# A worker without a GPU: lexicons, relations, words, reports. Context: the root of the clone.
FROM python:3.11.14-slim-bookworm

RUN useradd --create-home --uid 10001 dskd \
    && install -d -o dskd /opt/dskd /data /cache
USER 10001
WORKDIR /opt/dskd
ENV PATH=/opt/dskd/.venv/bin:$PATH PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 \
    DSKD_HOME=/data HF_HOME=/cache/huggingface

# torch's CPU build lies in an index of its own: --build-arg PIP_EXTRA_INDEX_URL=... names it;
# without it pip takes the larger CUDA build, which runs on a CPU too.
ARG PIP_EXTRA_INDEX_URL
COPY --chown=10001 constraints.txt requirements-sample.txt ./
RUN python -m venv .venv \
    && pip install -c constraints.txt torch==2.13.0 \
    && pip install --no-deps -r requirements-sample.txt

COPY --chown=10001 . .
RUN pip install -c constraints.txt '.[s3,hub,dask,eval]'

VOLUME /data /cache
CMD ["prefect", "worker", "start", "--pool", "dskd-cpu"]
