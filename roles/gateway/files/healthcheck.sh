#!/usr/bin/env bash
# nginx's image need not have curl.
exec 3<>/dev/tcp/127.0.0.1/8080 || exit 1
printf 'GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r -t 2 -u 3 _ status _ && [ "$status" = 200 ]
