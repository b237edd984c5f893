#!/bin/sh
# Whether an image of nginx takes the gateway's configuration: try.sh IMAGE DIRECTORY VERSION TMPFS. What was tried once, this version of
# the files with this very image, is not tried again.
set -eu
tried=$2/.tried
# The image may be missing, and is pulled then.
seen() { docker image inspect --format "$3 {{.Id}}" "$1" 2>/dev/null || true; }
now=$(seen "$@")
if [ -n "$now" ] && [ "$(cat "$tried" 2>/dev/null)" = "$now" ]; then exit 0; fi
docker run --rm --network=none --volume="$2:/gpuswarm:ro" --tmpfs="$4" --entrypoint=/bin/bash "$1" \
  -c 'nginx -v && nginx -t -c /gpuswarm/nginx.conf'
seen "$@" >"$tried"
