#!/bin/sh
# Lets the Ollama of this node finish what it is answering and take nothing new, before the node is drained. A task that is
# drained finishes its answers by itself (serve.sh of the role ollama), but goes on taking new requests until the gateways
# have heard of its end from DNS, and has only its grace period for them.
# Arguments: full name of the Ollama service, seconds to wait at most.
# New connections from outside its container are refused, which sends the gateway to the next server at once; the health
# check comes from inside and still passes. The rule ends with the container, or a minute after the wait if the container is not
# stopped by then: a run that is killed in between leaves no server that is healthy and gets no request.
set -eu
task=$(timeout 20 docker ps --quiet --filter "label=com.docker.swarm.service.name=$1" | head -n 1)
[ -n "$task" ] || exit 0
pid=$(timeout 20 docker inspect --format '{{.State.Pid}}' "$task")
inside() { nsenter --target "$pid" --net "$@"; }
refuse='INPUT ! -i lo -p tcp --dport 11434 --syn -j REJECT --reject-with tcp-reset'
# shellcheck disable=SC2086 # the rule is a list of words
if ! inside iptables -w 5 -C $refuse 2>/dev/null; then
  # Before the rule. Where another process has the number by then, there is no such rule to delete.
  systemd-run --quiet --collect --on-active="$(($2 + 60))" nsenter --target "$pid" --net iptables -w 5 -D $refuse
  inside iptables -w 5 -I $refuse
fi
end=$(($(date +%s) + $2))
while running=$(inside ss --no-header --tcp --numeric state established '( sport = :11434 )' | grep -cv '127.0.0.1' || true); [ "$running" -gt 0 ]; do
  if [ "$(date +%s)" -ge "$end" ]; then
    echo "$running answers are still running after $2 s"
    exit 0
  fi
  sleep 0.5
done
echo "nothing is running any more"
