#!/usr/bin/env bash
# Puts a backup on this manager, and proves that it runs tasks. Arguments: the backup (an archive, decrypted, or a directory with what is
# in one), address to advertise, seconds for the engine to run a task after a restart, directory for the dumps that are restored when
# their services run again. BACKUP_ROOT is where the manager's files lie, if not at /.
# What was there of the swarm is kept beside it, until the next restore.
set -euo pipefail
shopt -s nullglob
umask 077
backup=$1 address=$2 patience=$3 later=$4
root=${BACKUP_ROOT:-}
probe=gpuswarm-restore-probe
work=$(mktemp -d "$root/var/tmp/gpuswarm-restore-XXXXXX")
trap 'rm -rf "$work"' EXIT
content=$backup
if [ ! -d "$backup" ]; then
  content=$work/root
  mkdir "$content"
  tar --extract --gzip --numeric-owner --preserve-permissions --directory "$content" --file "$backup"
fi
cd "$content"
[ -d var/lib/docker/swarm ] || { echo "$backup holds no swarm: it is no backup of a manager" >&2; exit 1; }
# Backups of the first releases have no list of checksums, and no list of parts.
if [ -e sha256sums ] && ! wrong=$(sha256sum --check --strict --quiet sha256sums 2>&1); then
  echo "$backup is not what was backed up: ${wrong//$'\n'/; }. Take another backup. Nothing was changed" >&2
  exit 1
fi

# A start by hand counts towards the unit's limit, too, and a fresh server has had some.
restart_docker() {
  systemctl reset-failed docker.service || true
  systemctl restart docker.service
}

# A container on a network of the swarm's is a task of this node, which goes the way of every other one. Its image is made here: no
# registry has to answer.
run_a_task() {
  local program files
  program=$(type -P true)
  mapfile -t files < <(ldd "$program" | grep -o '/[^ ]*')
  docker image inspect "$probe" >/dev/null 2>&1 ||
    tar --create --dereference --directory / "${program#/}" "${files[@]#/}" | docker import - "$probe" >/dev/null
  docker network inspect "$probe" >/dev/null 2>&1 || docker network create --driver overlay --attachable "$probe" >/dev/null
  docker rm --force "$probe" >/dev/null 2>&1 || true
  timeout 30 docker run --rm --name "$probe" --network "$probe" "$probe" "$program"
}

forget_the_task() {
  docker rm --force "$probe" || true
  docker network rm "$probe" || true
  docker image rm --force "$probe" || true
} >/dev/null 2>&1

systemctl stop docker.socket docker.service
rm -rf "$root/var/lib/docker/swarm.before"
[ ! -e "$root/var/lib/docker/swarm" ] || mv "$root/var/lib/docker/swarm" "$root/var/lib/docker/swarm.before"
# Only what a backup is of: the directories above it are the system's, with 0700 in backups of the first releases.
parts=(var/lib/docker/swarm var/lib/docker/volumes/* etc/gpuswarm opt/gpuswarm/stack var/lib/gpuswarm/journal.jsonl*)
[ ! -e parts ] || mapfile -t parts <parts
for part in "${parts[@]}"; do
  [ -e "$part" ] || continue
  (umask 022 && mkdir -p "$root/${part%/*}")
  cp -aT "$part" "$root/$part"
done
rm -rf "$root$later"
if [ -d dumps ]; then
  (umask 022 && mkdir -p "$root${later%/*}")
  mkdir "$root$later"
  cp -a dumps "$root$later/"
fi
restart_docker
# The old members of the raft are gone; this one goes on alone with what they agreed on.
timeout 120 docker swarm init --force-new-cluster --advertise-addr "$address" >/dev/null

# An engine that got its swarm while it ran may be Leader and Ready and reject every task ("swarm is not active", Docker 20.10).
for _ in 1 2 3; do
  restart_docker
  end=$((SECONDS + patience))
  while true; do
    if said=$(run_a_task 2>&1); then
      forget_the_task
      exit 0
    fi
    ((SECONDS < end)) || break
    sleep 1
  done
done
forget_the_task
echo "the backup is in place, but this manager's Docker runs no task, after three restarts: ${said:-it says nothing}. Look at" \
  "'journalctl -u docker', and restore again once Docker runs tasks. The swarm of before is in /var/lib/docker/swarm.before" >&2
exit 1
