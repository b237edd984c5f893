#!/usr/bin/env bash
# Puts a backup on this manager. Arguments: the backup, its private key (empty: it is not encrypted), address to advertise.
# BACKUP_ROOT is where the manager's files lie, if not at /.
# What was there of the swarm is kept beside it, until the next restore.
set -euo pipefail
shopt -s nullglob
umask 077
file=$1 identity=$2 address=$3
root=${BACKUP_ROOT:-}
work=$(mktemp -d "$root/var/tmp/gpuswarm-restore-XXXXXX")
trap 'rm -rf "$work"' EXIT
case $file in
  *.age) age --decrypt --identity "$identity" --output "$work/backup.tar.gz" "$file" ;;
  *) cp "$file" "$work/backup.tar.gz" ;;
esac
mkdir "$work/root"
tar --extract --gzip --numeric-owner --directory "$work/root" --file "$work/backup.tar.gz"
[ -d "$work/root/var/lib/docker/swarm" ] || { echo "$file holds no swarm: it is no backup of a manager" >&2; exit 1; }

systemctl stop docker.socket docker.service
rm -rf "$root/var/lib/docker/swarm.before"
[ ! -e "$root/var/lib/docker/swarm" ] || mv "$root/var/lib/docker/swarm" "$root/var/lib/docker/swarm.before"
# Only what a backup is of: the directories above it are the system's, with 0700 in backups of the first releases.
cd "$work/root"
for part in var/lib/docker/swarm var/lib/docker/volumes/* etc/gpuswarm opt/gpuswarm/stack var/lib/gpuswarm/journal.jsonl*; do
  [ -e "$part" ] || continue
  (umask 022 && mkdir -p "$root/${part%/*}")
  cp -aT "$part" "$root/$part"
done
systemctl start docker.service
# The old members of the raft are gone; this one goes on alone with what they agreed on.
timeout 120 docker swarm init --force-new-cluster --advertise-addr "$address" >/dev/null
