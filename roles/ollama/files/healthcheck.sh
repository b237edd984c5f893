#!/usr/bin/env bash
# Healthy means: every configured model is loaded and, where a GPU is required, wholly in the GPU's memory.
# "ollama list" would also pass when the GPU is lost and the server answers from the CPU.
set -u
here=${BASH_SOURCE[0]%/*}
# shellcheck source=/dev/null
. "$here/ollama_api.sh"

# Why the model cannot be had, after a colon, if that is known.
problem() {
  local reason
  reason=$(cat "$(problem_file "$1")" 2>/dev/null)
  printf '%s' "${reason:+: $reason}"
}

# Prints what is wrong, if anything is.
verdict() {
  local model loaded
  loaded=$(request GET /api/ps 3) || { echo "the server does not answer"; return 1; }
  for model in ${GPUSWARM_MODELS:?}; do
    [ -e "$(loaded_file "$model")" ] || { echo "$model is not loaded$(problem "$model")"; return 1; }
    case "$(residency "$model" "$loaded"):${GPUSWARM_REQUIRE_GPU:-true}" in
      gpu:*|partial:false) ;;
      none:*) echo "$model is not loaded$(problem "$model")"; return 1 ;;
      *) echo "$model is not wholly in the GPU's memory"; return 1 ;;
    esac
  done
}

# Docker asks at one pace from the beginning (a quicker one for the start came with Docker 25 only). So it asks often, and the
# pace is kept here: until the first success the answer is waited for, from then on every check begins with a pause.
pause=${GPUSWARM_HEALTH_SECONDS:-0}
tries=$((pause * 5 + 1))
ready=$(ready_file)
if [ -e "$ready" ]; then
  sleep "$pause"
  tries=1
fi
until reason=$(verdict); do
  tries=$((tries - 1))
  [ "$tries" -gt 0 ] || { echo "$reason"; exit 1; }
  sleep 0.2
done
touch "$ready"
echo "ready"
