# Requests to the Ollama server of this container, with what its image has: bash, no curl, no python.
# shellcheck shell=bash

say() { printf 'gpuswarm: %s\n' "$*"; }

# request METHOD PATH SECONDS [BODY]: prints the answer's body; fails unless the status is 200, with 2 if it is 503: the queue is full.
# Dechunked by asking for HTTP/1.0, in which Go's server closes the connection at the end.
request() {
  local method=$1 path=$2 seconds=$3 body=${4-} status line
  # The server may accept and then stay silent: every read is bounded, so the whole takes a few times SECONDS at most
  # while it sends nothing.
  exec 3<>"/dev/tcp/127.0.0.1/${OLLAMA_PORT:-11434}" || return 1
  printf '%s %s HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
    "$method" "$path" "${#body}" "$body" >&3
  read -r -t "$seconds" -u 3 _ status _ || { exec 3>&-; return 1; }
  while read -r -t "$seconds" -u 3 line; do
    [ "$line" = $'\r' ] && break
  done
  # -d '' reads to the end of the stream; read fails there, having kept what it read.
  line=
  read -r -t "$seconds" -d '' -u 3 line
  exec 3>&-
  printf '%s' "$line"
  case "$status" in 200) ;; 503) return 2 ;; *) return 1 ;; esac
}

# question MODEL KIND SECONDS: asks a loaded model for one token, or, as the KIND "nothing", for none: that is answered as soon as it is loaded.
question() {
  local body="{\"model\":\"$1\",\"keep_alive\":${GPUSWARM_KEEP_ALIVE:-\"-1s\"},\"stream\":false" how text=''
  read -r how <"$(way_file "$1")"
  [ "$2" = nothing ] || text=a
  if [ "$how" = embed ]; then
    request POST /api/embed "$3" "$body,\"input\":\"$text\"}"
  elif [ -z "$text" ]; then
    request POST /api/generate "$3" "$body}"
  else
    request POST /api/generate "$3" "$body,\"prompt\":\"$text\",\"raw\":true,\"options\":{\"num_predict\":1}}"
  fi
}

# full_name MODEL: the name with its tag.
full_name() {
  case "${1##*/}" in
    *:*) printf '%s' "$1" ;;
    *) printf '%s:latest' "$1" ;;
  esac
}

# canonical_name MODEL: the name with its host and namespace too, in lower case: the server does not tell the spellings from each other, and lists one of
# them.
canonical_name() {
  local name
  name=$(full_name "${1,,}")
  case "$name" in
    */*/*) ;;
    */*) name=registry.ollama.ai/$name ;;
    *) name=registry.ollama.ai/library/$name ;;
  esac
  printf '%s' "$name"
}

# locate MODEL: sets host, path and tag to where its registry has it, and store to where models lie here.
# Ollama takes the first of three parts for a host: hf.co/USER/MODEL.
# shellcheck disable=SC2034 # they are for the caller
locate() {
  local name
  name=$(full_name "$1")
  host=registry.ollama.ai path=${name%:*} tag=${name##*:} store=${OLLAMA_MODELS:-$HOME/.ollama/models}
  case "$path" in
    */*/*) host=${path%%/*} path=${path#*/} ;;
    */*) ;;
    *) path=library/$path ;;
  esac
}

# present MODEL: whether the server has it.
present() { request POST /api/show 10 "{\"model\":\"$1\"}" >/dev/null; }

# problem_file MODEL: where the reason is why it cannot be pulled; the health check repeats it.
problem_file() { printf '/run/gpuswarm/%s' "${1//\//_}"; }

# ready_file: there as soon as the health check has passed once.
ready_file() { printf '/run/gpuswarm/ready'; }

# failed_file MODEL: there while the last attempt to load it has failed.
failed_file() { printf '/run/gpuswarm/failed-%s' "${1//\//_}"; }

# loaded_file MODEL: there as soon as the server has loaded it once, with the time of that (/proc/uptime). It lists a model from the beginning of its load.
loaded_file() { printf '/run/gpuswarm/loaded-%s' "${1//\//_}"; }

# way_file MODEL: how it is asked, "generate" or "embed".
way_file() { printf '/run/gpuswarm/way-%s' "${1//\//_}"; }

# loading_file MODEL: there while the model that was loaded is not, or is being loaded again, and as old as that.
loading_file() { printf '/run/gpuswarm/loading-%s' "${1//\//_}"; }

# hung_file MODEL: there while its runner hangs.
hung_file() { printf '/run/gpuswarm/hung-%s' "${1//\//_}"; }

# residency MODEL LOADED: "gpu", "partial" or "none", out of what the server says is loaded (/api/ps).
# A model's size and the part of it in the GPU's memory are both in its entry; they are equal when all of it is there.
residency() {
  local name entry size vram loaded=$2
  name=$(canonical_name "$1")
  while IFS= read -r entry; do
    [[ $entry =~ ^\{\"name\":\"([^\"]+)\" ]] && [ "$(canonical_name "${BASH_REMATCH[1]}")" = "$name" ] || continue
    [[ $entry =~ \"size\":([0-9]+) ]] && size=${BASH_REMATCH[1]}
    [[ $entry =~ \"size_vram\":([0-9]+) ]] && vram=${BASH_REMATCH[1]}
    if [ "${size:-0}" -gt 0 ] && [ "${vram:-0}" = "${size:-0}" ]; then echo gpu; else echo partial; fi
    return
  done <<< "${loaded//\{\"name\":/$'\n'\{\"name\":}"
  echo none
}

# busy: whether a client other than this container itself has a connection to the server. A gateway closes its own with each answer.
# Sets unread to how many of them do not read what they were sent.
# shellcheck disable=SC2034 # it is for the caller
busy() {
  local port table lines line fields clients=0
  unread=0
  printf -v port ':%04X' "${OLLAMA_PORT:-11434}"
  for table in /proc/net/tcp /proc/net/tcp6; do
    # Read as a whole: line by line, the kernel makes the table anew for each.
    { mapfile -t lines <"$table"; } 2>/dev/null || continue # there is no IPv6
    for line in "${lines[@]}"; do
      [[ $line == *"$port "* ]] || continue
      read -ra fields <<<"$line" # number, local address, remote address, state, queues to be sent and to be read
      [ "${fields[3]}" = 01 ] && [ "${fields[1]: -5}" = "$port" ] || continue # 01: established
      case "${fields[2]}" in
        *0100007F:*|*01000000:*) continue ;; # 127.0.0.1 and ::1
      esac
      clients=$((clients + 1))
      [ "${fields[4]%:*}" = 00000000 ] || unread=$((unread + 1))
    done
  done
  [ "$clients" -gt 0 ]
}

# drain SERVER SECONDS: waits until the server (its process id) has no client any more, or SECONDS have passed.
# A gateway may hear of it two seconds later only, and still sends requests for a moment.
drain() {
  local deadline=$((SECONDS + $2)) settled=$((SECONDS + 4))
  while kill -0 "$1" 2>/dev/null && { [ "$SECONDS" -lt "$settled" ] || busy; } && [ "$SECONDS" -lt "$deadline" ]; do
    sleep 0.2
  done
}
