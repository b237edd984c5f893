#!/usr/bin/env bash
# Healthy means: every configured model is loaded and, where a GPU is required, wholly in the GPU's memory, and none of their runners hangs
# (watch.sh). A model that was loaded and is not any more is loaded again (serve.sh), and its requests wait for that: no reason to replace the
# replica, as long as it comes back. "ollama list" would also pass when the GPU is lost and the server answers from the CPU.
set -u
here=${BASH_SOURCE[0]%/*}
# shellcheck source=/dev/null
. "$here/ollama_api.sh"

# Why the model cannot be pulled, after a colon, if that is known.
problem() {
  local reason
  reason=$(cat "$(problem_file "$1")" 2>/dev/null)
  printf '%s' "${reason:+: $reason}"
}

# Whether a model that was there may still be coming back: it has not been missing for long, and no attempt to load it has failed.
returning() {
  local now since
  [ -e "$ready" ] && [ ! -e "$(failed_file "$1")" ] || return 1
  now=$(date +%s)
  since=$(stat --format %Y "$(loading_file "$1")" 2>/dev/null || echo "$now")
  [ $((now - since)) -lt "${GPUSWARM_RELOAD_SECONDS:-300}" ]
}

# Whether any runner hangs.
hung() { compgen -G "$(hung_file '')*" >/dev/null; }

# Prints what is wrong, if anything is: a code for the recovery loop (HealthCode in module_utils/_core/vocabulary.py), and words.
verdict() {
  local model loaded returns=
  for model in ${GPUSWARM_MODELS:?}; do
    [ ! -e "$(hung_file "$model")" ] || { echo "hung: $model does not answer, and its runner computes nothing"; return 1; }
  done
  loaded=$(request GET /api/ps 3) || { echo "silent: the server does not answer"; return 1; }
  for model in $GPUSWARM_MODELS; do
    [ -e "$(loaded_file "$model")" ] || { echo "not_loaded: $model is not loaded$(problem "$model")"; return 1; }
    case "$(residency "$model" "$loaded"):${GPUSWARM_REQUIRE_GPU:-true}" in
      gpu:*|partial:false) [ -e "$(loading_file "$model")" ] || continue ;;
      none:*) ;;
      *) echo "on_cpu: $model is not wholly in the GPU's memory"; return 1 ;;
    esac
    returning "$model" || { echo "not_loaded: $model is not loaded$(problem "$model")"; return 1; }
    returns=$model
  done
  [ -z "$returns" ] || echo "ready, but $returns is being loaded again"
}

# Docker asks at one pace from the beginning (a quicker one for the start came with Docker 25 only). So it asks often, and the
# pace is kept here: until the first success the answer is waited for, from then on every check begins with a pause, unless a runner hangs.
pause=${GPUSWARM_HEALTH_SECONDS:-0}
tries=$((pause * 5 + 1))
ready=$(ready_file)
if [ -e "$ready" ]; then
  for ((part = 0; part < pause * 5; part++)); do
    hung && break
    sleep 0.2
  done
  tries=1
fi
until reason=$(verdict); do
  tries=$((tries - 1))
  [ "$tries" -gt 0 ] || { echo "$reason"; exit 1; }
  sleep 0.2
done
touch "$ready"
echo "${reason:-ready}"
