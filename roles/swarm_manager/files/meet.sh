#!/usr/bin/env bash
# When its engine has started, the manager asks the workers what runs where.
#
# Docker's nodes tell each other so by gossip (port 7946). A worker that starts asks the manager. The only manager has nobody to ask: it waits
# until a worker comes by, up to a minute, and then for the next comparison of all that is known, up to half a minute more. Meanwhile its
# containers find none on other nodes: the gateway has no servers. So it is told here whom to ask, through the engine's network diagnostics
# (the option network-diagnostic-port), which listen on 127.0.0.1; nobody but root gets there.
#
# usage: meet.sh PORT
set -u
port=$1
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

# The engine opens the port when it reads its configuration again.
listens() {
    get /ready | grep -q OK && return
    kill -HUP "$(systemctl show --property=MainPID --value docker.service)"
    sleep 0.2
    get /ready | grep -q OK
}

# Sets addresses to those of the workers; Docker has none before its swarm has a leader.
workers() {
    # shellcheck disable=SC2046 # one word each
    addresses=$(docker node inspect --format '{{if not .ManagerStatus}}{{.Status.Addr}}{{end}}' $(docker node ls --quiet) 2>/dev/null)
}

join() { get "/join?members=$1" | grep -q OK; }

# What joined a network before it knew anybody asks again.
compare() {
    get "/networkstats?nid=$1" | grep -q 'entries: -1' || get "/joinnetwork?nid=$1" >/dev/null
}

only_root=(OUTPUT -o lo -p tcp --dport "$port" -m owner '!' --uid-owner 0 -j REJECT)
iptables -w 5 -C "${only_root[@]}" 2>/dev/null || iptables -w 5 -I "${only_root[@]}" || exit
wait_for listens && wait_for workers || exit
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
wait
