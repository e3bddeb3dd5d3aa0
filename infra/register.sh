#!/usr/bin/env bash
# Create the work pools and register every deployment at PREFECT_API_URL; running it again is harmless.
set -euo pipefail
cd "$(dirname "$0")/.."
for pool in dskd-cpu dskd-gpu; do
    prefect --no-prompt work-pool create "$pool" --type process --overwrite
done
prefect --no-prompt deploy --all --prefect-file deployments/prefect.yaml
