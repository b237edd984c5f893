#!/bin/sh
# Prints what a sick node says of itself, as JSON. Argument: full name of the Ollama service. Every question has a time limit.
docker=silent swarm=null ollama=
if ! command -v docker >/dev/null; then
  docker=absent
# From Docker 23 on, `docker info` ends well without an engine, but has no version of it then.
elif info=$(timeout 20 docker info --format '{{.ServerVersion}} {{json .Swarm}}' 2>/dev/null) && [ -n "${info%% *}" ]; then
  docker=answers swarm=${info#* }
  task=$(timeout 10 docker ps --all --quiet --filter "label=com.docker.swarm.service.name=$1" 2>/dev/null | head -n 1)
  # What the health check said last; without quotes and backslashes it is a JSON string as it is.
  [ -z "$task" ] || ollama=$(timeout 10 docker inspect --format '{{range .State.Health.Log}}{{println .Output}}{{end}}' "$task" 2>/dev/null |
    grep . | tail -n 1 | tr -d '"\\\000-\037')
fi
printf '{"docker": "%s", "swarm": %s, "ollama": "%s"}\n' "$docker" "$swarm" "$ollama"
