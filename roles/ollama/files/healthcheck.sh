#!/usr/bin/env bash
# Healthy means: every configured model is loaded and, where a GPU is required, wholly in the GPU's memory.
# "ollama list" would also pass when the GPU is lost and the server answers from the CPU.
set -u
here=${BASH_SOURCE[0]%/*}
# shellcheck source=/dev/null
. "$here/ollama_api.sh"

loaded=$(request GET /api/ps 3) || { echo "the server does not answer"; exit 1; }
for model in ${GPUSWARM_MODELS:?}; do
  case "$(residency "$model" "$loaded"):${GPUSWARM_REQUIRE_GPU:-true}" in
    gpu:*|partial:false) ;;
    none:*)
      reason=$(cat "$(problem_file "$model")" 2>/dev/null)
      echo "$model is not loaded${reason:+: $reason}"
      exit 1
      ;;
    *) echo "$model is not wholly in the GPU's memory"; exit 1 ;;
  esac
done
echo "ready"
