#!/usr/bin/env bash
# Has a model on this server's volume: pull.sh MODEL. Space is checked first. It comes through the cache, if there is one, else
# from its registry; what one of them has given, the next goes on from. The last line says how it ended.
set -u
here=${BASH_SOURCE[0]%/*}
# shellcheck source=/dev/null
. "$here/ollama_api.sh"

model=$1
host='' path='' tag='' store='' # set by locate
locate "$model"
cache=${GPUSWARM_CACHE-}
[ "$host" = registry.ollama.ai ] || cache= # it has that registry's models only

# fail REASON: one line for the log and for the health check.
fail() {
  local file
  file=$(problem_file "$model")
  mkdir -p "${file%/*}" && printf '%s\n' "$1" >"$file"
  say "$model: $1"
  exit 1
}

# get URL: the body of a registry's answer; fails unless the status is 200. The image has no curl, but openssl.
get() {
  local server=${1#*://} port answer status
  local question="GET /${server#*/} HTTP/1.0"$'\r\n'"Host: ${server%%/*}"$'\r\n'
  question+="Accept: application/vnd.docker.distribution.manifest.v2+json"$'\r\n\r\n'
  server=${server%%/*}
  case "$server" in *:*) port=${server##*:} server=${server%:*} ;; *) port=443 ;; esac
  case "$1" in
    http:*)
      # shellcheck disable=SC2016 # the inner shell expands it
      answer=$(timeout 20 bash -c 'exec 3<>"/dev/tcp/$0/$1" && printf %s "$2" >&3 && cat <&3' "$server" "$port" "$question")
      ;;
    *)
      answer=$(printf %s "$question" | timeout 20 openssl s_client -quiet -verify_return_error -verify_hostname "$server" \
        -servername "$server" -connect "$server:$port")
      ;;
  esac 2>/dev/null
  read -r _ status _ <<<"$answer"
  [ "$status" = 200 ] && printf '%s' "${answer#*$'\r\n\r\n'}"
}

# missing MANIFEST: bytes of its layers that are not on the volume yet. A started one has the full length, but with holes.
missing() {
  local entry blob size have sum=0
  while IFS= read -r entry; do
    [[ $entry =~ \"digest\":\"sha256:([0-9a-f]{64})\" ]] || continue
    blob=$store/blobs/sha256-${BASH_REMATCH[1]}
    [[ $entry =~ \"size\":([0-9]+) ]] || continue
    size=${BASH_REMATCH[1]}
    [ ! -e "$blob" ] || continue
    have=$(($(stat --format '%b * %B' "$blob-partial" 2>/dev/null || echo 0)))
    sum=$((sum + (size > have ? size - have : 0)))
  done <<<"${1//\}/$'\n'}"
  echo "$sum"
}

bytes() { numfmt --to=iec-i --suffix=B --round=nearest --format=%.1f "$1"; }

check_space() {
  local registry manifest needs free reserve=${GPUSWARM_DISK_RESERVE:-0}
  for registry in ${cache:+"http://$cache:5000"} "https://$host"; do
    manifest=$(get "$registry/v2/$path/manifests/$tag") && break
  done || { say "$model: its size is not known beforehand, as its manifest could not be read"; return; }
  needs=$(missing "${manifest//[[:space:]]/}")
  mkdir -p "$store"
  free=$(df --block-size=1 --output=avail "$store" | tail -n 1)
  [ "$needs" -le $((free - reserve)) ] ||
    fail "it needs $(bytes "$needs") more on the server's volume, of which $(bytes "$free") are free and $(bytes "$reserve") stay so\
 (ollama_disk_reserve). Give the servers larger volumes (fleet_gpu_volume_size), take it off ollama_models, or remove models that are\
 no longer needed (playbook prune)."
}

# pull NAME INSECURE: prints the reason when it cannot be pulled.
pull() {
  local answer
  answer=$(request POST /api/pull 86400 "{\"model\":\"$1\",\"insecure\":$2,\"stream\":false}" 2>/dev/null) && return
  answer=${answer#*\"error\":\"}
  printf '%s' "${answer%\"*}"
  return 1
}

# Ollama keeps a model under the name that it was pulled by; a copy shares its blobs.
pull_through() {
  local name=$1/$path:$tag
  pull "$name" true || return 1
  request POST /api/copy 60 "{\"source\":\"$name\",\"destination\":\"$model\"}" >/dev/null || return 1
  request DELETE /api/delete 60 "{\"model\":\"$name\"}" >/dev/null
}

if present "$model" 2>/dev/null; then
  say "$model is there"
  exit
fi
check_space
# The cache's other port fetches everything anew, and so replaces what has gone bad in it: Ollama found a wrong digest.
for port in ${cache:+5000 5001}; do
  say "$model: pulling through the cache, port $port"
  if reason=$(pull_through "$cache:$port" 2>/dev/null); then
    rm -f "$(problem_file "$model")"
    say "$model was pulled through the cache"
    exit
  fi
  say "$model: not through the cache: ${reason:-no answer}"
  case "$reason" in *digest\ mismatch*) ;; *) break ;; esac
done
say "$model: pulling from $host"
reason=$(pull "$model" false) || fail "it cannot be pulled from $host: ${reason:-no answer}"
rm -f "$(problem_file "$model")"
say "$model was pulled from $host"
