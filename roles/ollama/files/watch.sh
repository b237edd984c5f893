#!/usr/bin/env bash
# Finds a runner that hangs, which the server itself does not: watch.sh SERVER (its process id). A runner is the process that computes with
# a model. While a client waits and the runner computes nothing, it is asked for one token. If that waits too long and the runner still computes
# nothing, it hangs, and the health check says so. A long prompt and a full queue are computed on, and so left alone; and a client that does not
# read its answer is what is waited for.
set -u
here=${BASH_SOURCE[0]%/*}
# shellcheck source=/dev/null
. "$here/ollama_api.sh"

server=$1
patience=$((${GPUSWARM_HUNG_SECONDS:-10} * 100)) # times are in hundredths of a second
declare -A hung loading loaded manifest known proven spent question asked since waiting rest again # by model
now=0 looked=0 runner='' ticks=0 born=0 unread=0 stepping=''
trap 'kill "${question[@]}" 2>/dev/null; exit' TERM

# find_runner MODEL: sets runner to its process ids, ticks to their CPU time, and born to when the last of them was started. Where no child of the
# server names the model's weights, it is all of them.
find_runner() {
  local entry stat fields words weights='' all='' all_ticks=0 all_born=0
  { read -rd '' stat <"${manifest[$1]}"; } 2>/dev/null
  [[ $stat =~ \"application/vnd\.ollama\.image\.model\"[^}]*\"sha256:([0-9a-f]{64})\" ]] && weights=${BASH_REMATCH[1]}
  runner='' ticks=0 born=0
  for entry in /proc/[0-9]*; do
    { read -r stat <"$entry/stat"; } 2>/dev/null || continue
    # Behind the command's name, which may have spaces in it: state, parent, ..., CPU time in user mode and in the kernel, ..., start.
    read -ra fields <<<"${stat##*) }"
    [ "${fields[1]}" = "$server" ] && [ "${fields[0]}" != Z ] || continue
    all+="${entry#/proc/} " all_ticks=$((all_ticks + fields[11] + fields[12])) all_born=$((fields[19] > all_born ? fields[19] : all_born))
    { mapfile -d '' -t words <"$entry/cmdline"; } 2>/dev/null
    [[ -n $weights && ${words[*]} == *"$weights"* ]] || continue
    runner+="${entry#/proc/} " ticks=$((ticks + fields[11] + fields[12])) born=$((fields[19] > born ? fields[19] : born))
  done
  [ -n "$runner" ] || runner=$all ticks=$all_ticks born=$all_born
}

# gpu_computes: whether a GPU computes, for whichever model.
gpu_computes() {
  command -v nvidia-smi >/dev/null || return 1
  timeout 3 nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits 2>/dev/null | grep -q '[1-9]'
}

# put MODEL KIND: asks in the background, one question at a time. Without a stream: a client that leaves a streamed answer can cost Ollama a
# turn for good (its issue 17131).
put() {
  question "$1" "$2" 86400 >/dev/null 2>&1 &
  question[$1]=$! asked[$1]=$runner
}

# step_aside: has the gateways send nothing new here for some seconds (docs/reference/services.md), unless that is under way.
step_aside() {
  [ -n "${GPUSWARM_ASIDE-}" ] && ! { [ -n "$stepping" ] && kill -0 "$stepping" 2>/dev/null; } || return
  # shellcheck disable=SC2016 # the inner shell expands it
  timeout 3 /bin/bash -c '
    while read -r address kind _; do
      [ "$kind" != STREAM ] || { : >"/dev/tcp/$address/$1"; } 2>/dev/null &
    done < <(getent ahostsv4 "$0")
    wait' "${GPUSWARM_ASIDE%:*}" "${GPUSWARM_ASIDE##*:}" &
  stepping=$!
}

# answered MODEL: whether its question has been; that the queue is full is no answer.
answered() {
  local status
  [ -n "${question[$1]-}" ] && ! kill -0 "${question[$1]}" 2>/dev/null || return 1
  wait "${question[$1]}"
  status=$?
  question[$1]=
  [ "$status" != 2 ]
}

# look MODEL WAITED: WAITED is true if a client has been waiting since the last look.
look() {
  local model=$1 waited=$2 computed=true loads
  find_runner "$model"
  # What computes takes more than 2 % of a core; to be asked whether it is there takes less.
  [ "$runner" != "${known[$model]-}" ] || [ $(((ticks - spent[$model]) * 50)) -gt $((now - looked)) ] || computed=false
  known[$model]=$runner spent[$model]=$ticks
  # The first one has been loaded by serve.sh, unless it has been replaced since.
  if [ -z "${proven[$model]+known}" ]; then
    read -r loads _ <"${loaded[$model]}"
    proven[$model]=$([ "$born" -gt "${loads/./}" ] || echo "$runner")
  fi

  if answered "$model"; then
    proven[$model]=${asked[$model]} waiting[$model]=
    again[$model]=$((now + rest[$model])) rest[$model]=$((rest[$model] < 800 ? rest[$model] * 2 : 800))
    rm -f "${hung[$model]}"
  elif $computed || [ "$unread" -gt 0 ]; then
    since[$model]=$now rest[$model]=100
    [ -n "${question[$model]-}" ] || waiting[$model]=
    rm -f "${hung[$model]}"
  fi

  if [ -z "$runner" ] || [ "$runner" != "${proven[$model]-}" ]; then
    # It is being loaded again, which may last; an empty question is answered when that has ended.
    [ -e "${loading[$model]}" ] || touch "${loading[$model]}"
    # One for a token that was put to another runner may have many before it.
    if [ -n "${question[$model]-}" ] && [ "${asked[$model]}" != "$runner" ]; then
      kill "${question[$model]}" 2>/dev/null
      question[$model]=
    fi
    waiting[$model]=
    [ -z "$runner" ] || [ -n "${question[$model]-}" ] || put "$model" nothing
    return
  fi
  rm -f "${loading[$model]}"

  if [ -n "${waiting[$model]-}" ]; then
    [ -n "${question[$model]-}" ] || put "$model" token
    [ $((now - since[$model])) -ge "$patience" ] || return
    if gpu_computes; then
      since[$model]=$now
    elif [ ! -e "${hung[$model]}" ]; then
      say "$model: a question of one token waits, and its runner (process ${runner% }) computes nothing"
      touch "${hung[$model]}"
    fi
  elif $waited && ! $computed && [ "$now" -ge "${again[$model]:-0}" ]; then
    put "$model" token
    since[$model]=$now waiting[$model]=yes
  fi
}

host='' path='' tag='' store='' # set by locate
for model in ${GPUSWARM_MODELS:?}; do
  hung[$model]=$(hung_file "$model") loading[$model]=$(loading_file "$model") loaded[$model]=$(loaded_file "$model") rest[$model]=100
  locate "$model"
  manifest[$model]=$store/manifests/$host/$path/$tag
done

# A pause that takes no process: nobody writes there.
exec 4<> <(:)
before=false
while kill -0 "$server" 2>/dev/null; do
  read -r now _ </proc/uptime
  now=${now/./}
  if busy; then client=true; else client=false; fi
  if $before && $client && [ "$unread" = 0 ]; then waited=true; else waited=false; fi
  for model in $GPUSWARM_MODELS; do
    if [ -e "${loaded[$model]}" ]; then look "$model" "$waited"; fi
    # What comes in meanwhile had better go elsewhere.
    if [ -e "${loading[$model]}" ] || [ -e "${hung[$model]}" ]; then step_aside; fi
  done
  before=$client looked=$now
  read -rt 0.5 -u 4
done
