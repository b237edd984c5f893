#!/usr/bin/env bash
# When its engine has started, the manager asks the workers what runs where.
#
# Docker's nodes tell each other so by gossip (port 7946). A worker that starts asks the manager. The only manager has nobody to ask: it waits
# until a worker comes by, up to a minute, and then for the next comparison of all that is known, up to half a minute more. Meanwhile its
# containers find none on other nodes: the gateway has no servers. So it is told here whom to ask, through the engine's network diagnostics
# (the option network-diagnostic-port), which listen on 127.0.0.1; nobody but root gets there.
#
# An engine that was killed lives on in the workers' view for some seconds. Whoever asks them then hears of a member that has the manager's own
# address, takes it for its successor, and itself for gone: for good (purgeReincarnation of Docker's network database). A worker doubts a member after
# three or four seconds, and does not tell of it any more. So they are asked some seconds after the end of the last engine, unless it has said
# goodbye; and an engine that takes itself for gone all the same, within half a minute, is restarted, once.
#
# usage: meet.sh PORT ENDED
# ENDED is a file in /run: how the last engine ended (systemd's SERVICE_RESULT), and when. There is none after a boot.
set -u
port=$1 ended=$2
limit=30 # seconds; afterwards it is as without this
doubted=5000 # milliseconds: questions of a second each, to four members in turn at most, and the news of it
again=$ended.again # there while the engine has been restarted here

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

# Sets own to the manager's address and addresses to those of the workers; Docker has none before its swarm has a leader.
members() {
    own=$(docker info --format '{{.Swarm.NodeAddr}}' 2>/dev/null) && [ -n "$own" ] || return
    # shellcheck disable=SC2046 # one word each
    addresses=$(docker node inspect --format '{{if not .ManagerStatus}}{{.Status.Addr}}{{end}}' $(docker node ls --quiet) 2>/dev/null)
}

# Until a killed engine is doubted. At a boot it has been for longer than there is a first process.
pause() {
    [ -e "$again" ] || [ "$(cat "$ended" 2>/dev/null)" != success ] || return 0
    local since
    since=$(stat --format %.3Y "$ended" 2>/dev/null || stat --format %.3Y /proc/1)
    since=$(($(date +%s%3N) - ${since/./}))
    [ "$since" -lt 0 ] || [ "$since" -ge "$doubted" ] || sleep "$((doubted - since))e-3"
}

# Sets name to the engine's own among the members that it knows: the one at the manager's address. It stays the same for as long as the engine runs,
# and there is none when it has taken itself for gone. Fails without an answer.
find_name() {
    local peers found address
    peers=$(get /clusterpeers) && [[ $peers == *OK* ]] || return
    name=
    while read -r _ found _ address; do
        [ "${address%$'\r'}" != "$own" ] || name+="$found "
    done < <(grep -- ' -> ' <<<"$peers")
}

join() { get "/join?members=$1" | grep -q OK; }

# What joined a network before it knew anybody asks again.
compare() {
    get "/networkstats?nid=$1" | grep -q 'entries: -1' || get "/joinnetwork?nid=$1" >/dev/null
}

# Whether the engine takes itself for gone; what is known of the last one may come in late.
is_gone() {
    local first=$name
    while [ -n "$first" ] && [ "$SECONDS" -lt "$limit" ]; do
        sleep 1
        find_name && [ "$name" != "$first" ] && return
    done
    [ -z "$first" ]
}

only_root=(OUTPUT -o lo -p tcp --dport "$port" -m owner '!' --uid-owner 0 -j REJECT)
iptables -w 5 -C "${only_root[@]}" 2>/dev/null || iptables -w 5 -I "${only_root[@]}" || exit
wait_for listens && wait_for members || exit
pause
wait_for find_name || exit
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
if is_gone; then
    if [ -e "$again" ]; then
        echo 'The engine has taken itself for gone again: the gateway has no servers until it is restarted (systemctl restart docker)' >&2
        exit 1
    fi
    echo 'The engine has taken itself for gone, as the last one was not yet; it is restarted' >&2
    touch "$again"
    exec systemctl --no-block restart docker.service
fi
rm -f "$again"
wait
