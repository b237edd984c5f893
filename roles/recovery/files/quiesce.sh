#!/bin/sh
# Lets the Ollama of this node finish what it is answering and take nothing new, before the node is drained: Docker would
# end it in the middle of its answers. Arguments: full name of the Ollama service, seconds to wait at most.
# New connections from outside its container are refused, which sends the gateway to the next server at once; the health
# check comes from inside and still passes. What is refused ends with the container.
set -eu
task=$(docker ps --quiet --filter "label=com.docker.swarm.service.name=$1" | head -n 1)
[ -n "$task" ] || exit 0
pid=$(docker inspect --format '{{.State.Pid}}' "$task")
inside() { nsenter --target "$pid" --net "$@"; }
refuse='INPUT ! -i lo -p tcp --dport 11434 --syn -j REJECT --reject-with tcp-reset'
# shellcheck disable=SC2086 # the rule is a list of words
inside iptables -w 5 -C $refuse 2>/dev/null || inside iptables -w 5 -I $refuse
end=$(($(date +%s) + $2))
while running=$(inside ss --no-header --tcp --numeric state established '( sport = :11434 )' | grep -cv '127.0.0.1' || true); [ "$running" -gt 0 ]; do
  if [ "$(date +%s)" -ge "$end" ]; then
    echo "$running answers are still running after $2 s"
    exit 0
  fi
  sleep 0.5
done
echo "nothing is running any more"
