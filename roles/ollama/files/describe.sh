#!/usr/bin/env bash
# In a replica's container: describe MODEL ... Prints what the filter memory_fit reads: its GPUs' memory in MiB, its models with their sizes, and
# what each of the named ones says of itself.
set -u
# shellcheck source=/dev/null
. /gpuswarm/ollama_api.sh
command -v nvidia-smi >/dev/null &&
  timeout 20 nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits | while read -r mib; do echo "gpu $mib"; done
echo "tags $(request GET /api/tags 10)"
for model in "$@"; do
  answer=$(request POST /api/show 20 "{\"model\":\"$model\"}") || continue
  # An object of plain values.
  info=${answer#*\"model_info\":}
  echo "info $model ${info%%\}*}}"
done
