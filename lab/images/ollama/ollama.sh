#!/bin/sh
export LD_LIBRARY_PATH="/usr/local/lib/ollama${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec /usr/local/lib/ollama/ollama-lib "$@"
