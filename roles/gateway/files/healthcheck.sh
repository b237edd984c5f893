#!/usr/bin/env bash
# Prints the version of the configuration that this gateway runs with. nginx's image need not have curl.
# The exporter has read this file long before it is so large, and nginx appends to it.
log=/run/gpuswarm/requests.log
if [ -f $log ] && [ "$(stat -c %s $log)" -gt 8388608 ]; then : >$log; fi

exec 3<>/dev/tcp/127.0.0.1/8080 || exit 1
printf 'GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r -t 2 -u 3 _ status _ && [ "$status" = 200 ] || exit 1
while read -r -t 2 -u 3 line && [ "$line" != $'\r' ]; do :; done
read -r -t 2 -u 3 line || [ -n "$line" ] || exit 1
[[ $line =~ \"configuration\":\"([0-9a-f]+)\" ]] && printf '%s\n' "${BASH_REMATCH[1]}"
