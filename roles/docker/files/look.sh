#!/bin/sh
# Looks at the engine; prints a line for each thing that is so: unit (it is installed), active, enabled, answers, node (of a swarm),
# up_to_date (it was started after its configuration was written), and for each package among the arguments its status, its name, and its name with its
# version, as apt takes both.
# Docker's own package and the distribution's put dockerd in different places, but their unit in the same.
if [ -e /lib/systemd/system/docker.service ]; then echo unit; fi
if systemctl is-active --quiet docker.service; then echo active; fi
if systemctl is-enabled --quiet docker.service 2>/dev/null; then echo enabled; fi
# From Docker 23 on this ends well without an engine, too, but has no version of it then.
engine=$(timeout 10 docker info --format '{{.ServerVersion}} {{.Swarm.LocalNodeState}}' 2>/dev/null)
if [ -n "${engine%% *}" ]; then echo answers; fi
if [ "${engine#* }" = active ]; then echo node; fi
# test compares nanoseconds. The shell of Debian has -nt, too.
# shellcheck disable=SC3013
if [ /run/docker.pid -nt /etc/docker/daemon.json ]; then echo up_to_date; fi
# shellcheck disable=SC2016 # dpkg-query expands it
if [ $# -gt 0 ]; then dpkg-query --show --showformat='${db:Status-Status} ${Package} ${Package}=${Version}\n' "$@" 2>/dev/null; fi
exit 0
