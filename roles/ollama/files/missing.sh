#!/bin/sh
# On a GPU server: missing.sh SERVICE MODEL ... Prints the running replica's container, then those of the models that it does not have. Prints
# nothing without a replica; ends with 3 when the replica could not say what it has.
set -eu
replica=$(docker ps --quiet --filter "label=com.docker.swarm.service.name=$1" | head -n 1)
if [ -z "$replica" ]; then exit 0; fi
echo "$replica"
shift
# shellcheck disable=SC2016 # the replica's shell expands it
docker exec "$replica" /bin/bash -c 'set -e
. /gpuswarm/ollama_api.sh
for model in "$@"; do present "$model" 2>/dev/null || echo "$model"; done' missing "$@" || exit 3
