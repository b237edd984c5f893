#!/usr/bin/env bash
# Before the manager's engine starts: wait until the workers doubt the last one, unless that has said goodbye.
#
# An engine that was killed lives on in the workers' view for some seconds. The next one hears of it, when it asks them or a worker comes by: of a
# member that has its own address. It takes that one for its successor, and itself for gone: for good (purgeReincarnation of Docker's network
# database). A worker doubts a member after three or four seconds, and does not tell of it any more; later, when there are other lost ones to ask in
# between, as each engine is that meet.sh has killed.
#
# usage: doubt.sh ENDED TRIES
# ENDED is a file in /run: how the last engine ended (systemd's SERVICE_RESULT), and when. There is none after a boot. TRIES: see meet.sh.
set -u
ended=$1
doubted=5000 # milliseconds: questions of a second each, to four members in turn at most, and the news of it
doubted=$((doubted * (1 + $(cat "$2" 2>/dev/null || echo 0))))

[ "$(cat "$ended" 2>/dev/null)" != success ] || exit 0
# At a boot the last one has been gone for longer than there is a first process.
since=$(stat --format %.3Y "$ended" 2>/dev/null || stat --format %.3Y /proc/1)
since=$(($(date +%s%3N) - ${since/./}))
[ "$since" -lt 0 ] || [ "$since" -ge "$doubted" ] || sleep "$((doubted - since))e-3"
