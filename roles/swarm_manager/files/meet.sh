#!/usr/bin/env bash
# When its engine has started, the manager asks the workers what runs where.
#
# Docker's nodes tell each other so by gossip (port 7946). A worker that starts asks the manager. The only manager has nobody to ask: it waits
# until a worker comes by, up to a minute, and then for the next comparison of all that is known, up to half a minute more. Meanwhile its
# containers find none on other nodes: the gateway has no servers. So it is told here whom to ask, through the engine's network diagnostics
# (the option network-diagnostic-port), which listen on 127.0.0.1; nobody but root gets there.
#
# An engine that takes itself for gone (doubt.sh says why), within half a minute, is killed, as it would stop for 30 seconds, and starts again: at most
# three times.
#
# usage: meet.sh PORT TRIES
# TRIES is a file in /run: how often the engine has been killed here, one after the other.
set -u
port=$1 tries=$2
limit=30 # seconds; afterwards it is as without this

get() { # PATH: what the diagnostics answer
    (
        exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
        printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&3
        timeout "$limit" cat <&3
    ) 2>/dev/null
}

wait_for() { # COMMAND...: until it succeeds, or the time is over
    until "$@"; do
        [ "$SECONDS" -lt "$limit" ] || return 1
        sleep 0.1
    done
}

engine() { systemctl show --property="$1" --value docker.service; }

# The engine opens the port when it reads its configuration again.
listens() {
    get /ready | grep -q OK && return
    kill -HUP "$(engine MainPID)"
    sleep 0.2
    get /ready | grep -q OK
}

# The engine's name among the members, which only its log says; a swarm that is made anew (a restore does that) has another.
own_name() {
    journalctl --quiet --output=cat "_SYSTEMD_INVOCATION_ID=$(engine InvocationID)" | sed -n 's/.*will use memberlist nodeID:\([^ ]*\).*/\1/p' | tail -n 1 | grep .
}

# Sets own to the manager's address and addresses to those of the workers; Docker has none before its swarm has a leader.
members() {
    own=$(docker info --format '{{.Swarm.NodeAddr}}' 2>/dev/null) && [ -n "$own" ] || return
    # shellcheck disable=SC2046 # one word each
    addresses=$(docker node inspect --format '{{if not .ManagerStatus}}{{.Status.Addr}}{{end}}' $(docker node ls --quiet) 2>/dev/null)
}

# Whether the engine takes itself for gone: another member has its address. One that stops leaves the others, and is looked at last.
is_gone() {
    local name peers
    name=$(own_name) && peers=$(get /clusterpeers) && peers=${peers//$'\r'/}$'\n' && [[ $peers == *OK* && $peers != *"$name"* && $peers == *"-> $own"$'\n'* ]] &&
        [ "$(own_name)" = "$name" ] && [ "$(engine ActiveState)" = active ]
}

# Ends an engine that takes itself for gone; systemd starts the next one.
look() {
    # Twice: the log may be a moment late.
    is_gone && sleep 0.5 && is_gone || return 0
    local killed
    killed=$(cat "$tries" 2>/dev/null || echo 0)
    if [ "$killed" -ge 3 ]; then
        echo 'The engine takes itself for gone again: the gateway has no servers until it is restarted (systemctl restart docker)' >&2
        exit 1
    fi
    echo 'The engine takes itself for gone, as the last one was not yet; it is killed and starts again' >&2
    echo $((killed + 1)) >"$tries"
    systemctl reset-failed docker.service # the count of its starts
    kill -KILL "$(engine MainPID)"
    exit
}

join() { get "/join?members=$1" | grep -q OK; }

# What joined a network before it knew anybody asks again.
compare() {
    get "/networkstats?nid=$1" | grep -q 'entries: -1' || get "/joinnetwork?nid=$1" >/dev/null
}

only_root=(OUTPUT -o lo -p tcp --dport "$port" -m owner '!' --uid-owner 0 -j REJECT)
iptables -w 5 -C "${only_root[@]}" 2>/dev/null || iptables -w 5 -I "${only_root[@]}" || exit
wait_for listens && wait_for members || exit
for address in $addresses; do
    wait_for join "$address" &
done
# The first that answers tells of the others.
until wait -n; do
    [ $? -ne 127 ] || exit 0 # there is none
done
for network in $(docker network ls --quiet --no-trunc --filter driver=overlay); do
    compare "$network" &
done
# What is known of the last one may come in late.
while [ "$SECONDS" -lt "$limit" ]; do
    look
    sleep 1
done
rm -f "$tries"
wait
