#!/usr/bin/env bash
# Runs the server, and sees to it that the configured models are there and loaded. Failures are tried again with
# growing pauses; the health check keeps traffic away until all models are loaded.
set -u
here=${BASH_SOURCE[0]%/*}
# shellcheck source=/dev/null
. "$here/ollama_api.sh"

host='' path='' tag='' store='' # set by locate
# At its start Ollama throws away what no model uses, and so what a pull that was cut off has got so far.
for model in ${GPUSWARM_MODELS:?}; do
  locate "$model"
  [ -e "$store/manifests/$host/$path/$tag" ] || export OLLAMA_NOPRUNE=1
done

ready=$(ready_file)
mkdir -p "${ready%/*}"
rm -f "$ready" "$(loaded_file '')"* "$(loading_file '')"* "$(failed_file '')"* "$(hung_file '')"*
ollama serve &
server=$!
keeper='' watcher=''

# Swarm takes a task out of DNS before it stops it. Requests that run are finished first, and those that still come from a
# gateway that has not heard of it. Behind a runner that hangs they would wait in vain.
# shellcheck disable=SC2329 # the trap calls it
stop() {
  kill "$keeper" "$watcher" 2>/dev/null
  if compgen -G "$(hung_file '')*" >/dev/null; then
    drain "$server" 5
    kill -TERM "$server" 2>/dev/null
    drain "$server" 5
    kill -KILL "$server" 2>/dev/null
  else
    drain "$server" "${GPUSWARM_DRAIN_SECONDS:-120}"
    kill -TERM "$server" 2>/dev/null
  fi
}
trap stop TERM INT

# Loads a model without a prompt, and notes how it is asked. Embedding models cannot generate.
load() {
  local way
  for way in generate embed; do
    printf '%s\n' "$way" >"$(way_file "$1")"
    question "$1" nothing "${GPUSWARM_LOAD_SECONDS:-900}" >/dev/null && return
  done
  return 1
}

# Whoever sees the file sees the time in it: a runner that was started later is another one.
note_loaded() {
  local now file
  read -r now _ </proc/uptime
  file=$(loaded_file "$1")
  printf '%s\n' "$now" >"$file~" && mv "$file~" "$file"
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
    load "$model" || { touch "$(failed_file "$model")"; say "$model could not be loaded"; return 1; }
    note_loaded "$model"
    rm -f "$(failed_file "$model")"
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
      pause "${GPUSWARM_MODEL_CHECK_SECONDS:-3}"
    else
      pause "$delay"
      delay=$((delay < 60 ? delay * 2 : 60))
    fi
  done
}
keep &
keeper=$!
/bin/bash "$here/watch.sh" "$server" &
watcher=$!

wait "$server"
status=$?
# A trapped signal ends the first wait early; the second one gets the server's own status.
if kill -0 "$server" 2>/dev/null; then wait "$server"; status=$?; fi
kill "$keeper" "$watcher" 2>/dev/null
exit "$status"
