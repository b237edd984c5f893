#!/usr/bin/env bash
# Runs the server, and sees to it that the configured models are there and loaded. Failures are tried again with
# growing pauses; the health check keeps traffic away until all models are loaded.
set -u
here=${BASH_SOURCE[0]%/*}
# shellcheck source=/dev/null
. "$here/ollama_api.sh"

say() { printf 'gpuswarm: %s\n' "$*"; }

host='' path='' tag='' store='' # set by locate
# At its start Ollama throws away what no model uses, and so what a pull that was cut off has got so far.
for model in ${GPUSWARM_MODELS:?}; do
  locate "$model"
  [ -e "$store/manifests/$host/$path/$tag" ] || export OLLAMA_NOPRUNE=1
done

ready=$(ready_file)
mkdir -p "${ready%/*}"
rm -f "$ready" "$(loaded_file '')"*
ollama serve &
server=$!
keeper=

# Swarm takes a task out of DNS before it stops it, so no new request comes; those that run are finished first.
trap 'kill $keeper 2>/dev/null; drain "$server" "${GPUSWARM_DRAIN_SECONDS:-120}"; kill -TERM "$server" 2>/dev/null' TERM INT

# Loads a model without a prompt. Embedding models cannot generate; they are loaded by the other request.
load() {
  local body="{\"model\":\"$1\",\"keep_alive\":${GPUSWARM_KEEP_ALIVE:-\"-1s\"},\"stream\":false"
  request POST /api/generate "${GPUSWARM_LOAD_SECONDS:-900}" "$body}" >/dev/null ||
    request POST /api/embed "${GPUSWARM_LOAD_SECONDS:-900}" "$body,\"input\":\"\"}" >/dev/null
}

# Names under which a pull through the cache was cut off after it had all.
tidy() {
  local name
  for name in $(request GET /api/tags 10 | grep -o '"name":"cache:500[01]/[^"]*"'); do
    name=${name#*:\"}
    request DELETE /api/delete 10 "{\"model\":\"${name%\"}\"}" >/dev/null
  done
}

# One round over all models; fails when one is not loaded at its end.
ensure_models() {
  local model loaded
  for model in ${GPUSWARM_MODELS:?}; do
    loaded=$(request GET /api/ps 5) || return 1
    if [ -e "$(loaded_file "$model")" ] && [ "$(residency "$model" "$loaded")" != none ]; then continue; fi
    if ! present "$model"; then
      # In a group of its own, which can be ended as a whole.
      setsid /bin/bash "$here/pull.sh" "$model" &
      pulling=$!
      wait "$pulling" || return 1
    fi
    say "loading $model"
    load "$model" || { say "$model could not be loaded"; return 1; }
    touch "$(loaded_file "$model")"
    say "$model is loaded"
  done
}

# bash waits for a sleep before it runs a trap, so sleeps run in the background and are waited for.
pause() { sleep "$1" & wait $!; }

keep() {
  local delay=1 tidied=false pulling=
  # Without a client, the server notes how far the pull has come.
  trap '[ -z "$pulling" ] || kill -- "-$pulling" 2>/dev/null; exit' TERM
  # It answers after some tenths of a second.
  until request GET /api/version 5 >/dev/null 2>&1 || ! kill -0 "$server" 2>/dev/null; do
    pause 0.1
  done
  while kill -0 "$server" 2>/dev/null; do
    if ensure_models 2>/dev/null; then
      delay=1
      $tidied || tidy 2>/dev/null
      tidied=true
      pause "${GPUSWARM_MODEL_CHECK_SECONDS:-10}"
    else
      pause "$delay"
      delay=$((delay < 60 ? delay * 2 : 60))
    fi
  done
}
keep &
keeper=$!

wait "$server"
status=$?
# A trapped signal ends the first wait early; the second one gets the server's own status.
if kill -0 "$server" 2>/dev/null; then wait "$server"; status=$?; fi
kill "$keeper" 2>/dev/null
exit "$status"
