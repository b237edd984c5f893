#!/bin/sh
# For the first seconds of its engine, a worker asks only managers about the swarm's networks.
#
# Docker asks every member of a network for what it knows (TCP, port 7946), and waits 30 seconds for each answer. A worker that
# has not heard yet of the one that asks does not answer (moby issues 47396, 51701). One that is back within seconds may be
# told by a manager that its former self is still there, and ask itself. Managers know all that the others know, and know
# who has joined through them. Questions to anyone else are refused, which Docker takes for an answer; it comes back to them.
#
# usage: gossip.sh [MANAGER...]   addresses; without any, those that Docker has written down
set -eu
chain=GPUSWARM-GOSSIP
seconds=30
state=/var/lib/docker/swarm/state.json

if [ $# -eq 0 ] && [ -f "$state" ]; then
    # [{"node_id":"...","addr":"192.0.2.1:2377"}]
    # shellcheck disable=SC2046 # one word each
    set -- $(sed 's/}/\n/g' "$state" | sed -nE 's/.*"addr":"([0-9.]+):[0-9]+".*/\1/p')
fi
[ $# -gt 0 ] || exit 0 # in no swarm

iptables -w 5 -N "$chain" 2>/dev/null || iptables -w 5 -F "$chain"
for manager in "$@"; do
    iptables -w 5 -A "$chain" -d "$manager" -j RETURN
done
iptables -w 5 -A "$chain" -j REJECT
# Its end is certain before it begins.
systemctl stop gpuswarm-gossip.timer 2>/dev/null || true
systemd-run --quiet --collect --unit=gpuswarm-gossip --on-active="$seconds" --timer-property=AccuracySec=1s \
    iptables -w 5 -D OUTPUT -p tcp --dport 7946 -j "$chain"
iptables -w 5 -C OUTPUT -p tcp --dport 7946 -j "$chain" 2>/dev/null || iptables -w 5 -I OUTPUT -p tcp --dport 7946 -j "$chain"
