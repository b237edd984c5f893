# Requests to the Ollama server of this container, with what its image has: bash, no curl, no python.
# shellcheck shell=bash

# request METHOD PATH SECONDS [BODY]: prints the answer's body; fails unless the status is 200.
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
  [ "$status" = 200 ]
}

# full_name MODEL: the name as the server spells it, with its tag.
full_name() {
  case "${1##*/}" in
    *:*) printf '%s' "$1" ;;
    *) printf '%s:latest' "$1" ;;
  esac
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

# problem_file MODEL: where the reason is why it cannot be had; the health check repeats it.
problem_file() { printf '/run/gpuswarm/%s' "${1//\//_}"; }

# ready_file: there as soon as the health check has passed once.
ready_file() { printf '/run/gpuswarm/ready'; }

# loaded_file MODEL: there as soon as the server has loaded it once. It lists a model from the beginning of its load.
loaded_file() { printf '/run/gpuswarm/loaded-%s' "${1//\//_}"; }

# residency MODEL LOADED: "gpu", "partial" or "none", out of what the server says is loaded (/api/ps).
# A model's size and the part of it in the GPU's memory are both in its entry; they are equal when all of it is there.
residency() {
  local name entry size vram loaded=$2
  name=$(full_name "$1")
  while IFS= read -r entry; do
    case "$entry" in
      "{\"name\":\"$name\""*) ;;
      *) continue ;;
    esac
    [[ $entry =~ \"size\":([0-9]+) ]] && size=${BASH_REMATCH[1]}
    [[ $entry =~ \"size_vram\":([0-9]+) ]] && vram=${BASH_REMATCH[1]}
    if [ "${size:-0}" -gt 0 ] && [ "${vram:-0}" = "${size:-0}" ]; then echo gpu; else echo partial; fi
    return
  done <<< "${loaded//\{\"name\":/$'\n'\{\"name\":}"
  echo none
}

# busy: whether a client other than this container itself has a connection to the server.
busy() {
  local port local_address remote state
  printf -v port '%04X' "${OLLAMA_PORT:-11434}"
  while read -r _ local_address remote state _; do
    [ "$state" = 01 ] && [ "${local_address##*:}" = "$port" ] || continue # 01: established
    case "$remote" in
      *0100007F:*|*01000000:*) ;; # 127.0.0.1 and ::1
      *) return 0 ;;
    esac
  done < <(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null)
  return 1
}

# drain SERVER SECONDS: waits until the server (its process id) has no client any more, or SECONDS have passed.
# A gateway may hear of it two seconds later only, and still sends requests for a moment.
drain() {
  local deadline=$((SECONDS + $2)) settled=$((SECONDS + 4))
  while kill -0 "$1" 2>/dev/null && { [ "$SECONDS" -lt "$settled" ] || busy; } && [ "$SECONDS" -lt "$deadline" ]; do
    sleep 0.2
  done
}
