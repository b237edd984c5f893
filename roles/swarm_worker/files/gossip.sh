#!/bin/sh
# For the first seconds of its engine, a worker talks about the swarm's networks with managers only.
#
# Docker's nodes tell each other by gossip what runs where (port 7946). When a node is back within seconds, managers still take
# its former self for alive, and those of others that were lost with it, and tell it so. Then two things go wrong:
# - Over TCP it asks a member of a network for all that is known of it, and waits 30 seconds for each answer. One that has not
#   heard yet of the one that asks does not answer, nor does one that is gone (moby issues 47396, 51701). Managers know all that
#   the others know, and know who has joined through them. Questions to anyone else are refused, which is an answer.
# - Over UDP it tells news four times, to members that it picks at random. Should all four be gone, managers hear of it when
#   they next compare all that they know, up to a minute later. So what is sent to anyone else goes to a manager.
#
# usage: gossip.sh [MANAGER...]   addresses; without any, those that Docker has written down
#        gossip.sh --over         ends it
set -eu
chain=GPUSWARM-GOSSIP
seconds=30
state=/var/lib/docker/swarm/state.json

# have TABLE RULE..., drop TABLE RULE...: a rule is there, or is not.
have() { table=$1; shift; iptables -w 5 -t "$table" -C "$@" 2>/dev/null || iptables -w 5 -t "$table" -I "$@"; }
drop() { table=$1; shift; iptables -w 5 -t "$table" -D "$@" 2>/dev/null || true; }
each() {
    "$1" filter OUTPUT -p tcp --dport 7946 -j "$chain"
    "$1" nat OUTPUT -p udp --dport 7946 -j "$chain"
}
# The kernel goes on with what it has redirected once, as long as it keeps track of it.
untracked() {
    "$1" raw OUTPUT -p udp --dport 7946 -j CT --notrack
    "$1" raw PREROUTING -p udp --dport 7946 -j CT --notrack
}

if [ "${1-}" = --over ]; then
    each drop
    untracked have
    exit
fi
if [ $# -eq 0 ] && [ -f "$state" ]; then
    # [{"node_id":"...","addr":"192.0.2.1:2377"}]
    # shellcheck disable=SC2046 # one word each
    set -- $(sed 's/}/\n/g' "$state" | sed -nE 's/.*"addr":"([0-9.]+):[0-9]+".*/\1/p')
fi
[ $# -gt 0 ] || exit 0 # in no swarm

for table in filter nat; do
    iptables -w 5 -t "$table" -N "$chain" 2>/dev/null || iptables -w 5 -t "$table" -F "$chain"
    for manager in "$@"; do
        iptables -w 5 -t "$table" -A "$chain" -d "$manager" -j RETURN
    done
done
iptables -w 5 -A "$chain" -j REJECT
iptables -w 5 -t nat -A "$chain" -j DNAT --to-destination "$1"
# Its end is certain before it begins.
systemctl stop gpuswarm-gossip.timer 2>/dev/null || true
systemd-run --quiet --collect --unit=gpuswarm-gossip --on-active="$seconds" --timer-property=AccuracySec=1s "$0" --over
untracked drop
each have
