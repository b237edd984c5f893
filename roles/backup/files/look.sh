#!/bin/sh
# Looks at what is installed: look.sh DIRECTORY SCHEDULE PACKAGE ... Prints a line for each thing that is so: python and collections (what
# the program needs), schedule (systemd understands it), units, "installed PACKAGE", and what systemd says of the timer.
directory=$1 schedule=$2
shift 2
if [ -x "$directory/venv/bin/python" ]; then echo python; fi
if [ -e "$directory/collections/current/ansible_collections" ]; then echo collections; fi
if [ -z "$schedule" ] || systemd-analyze calendar "$schedule" >/dev/null 2>&1; then echo schedule; fi
if [ -e /etc/systemd/system/gpuswarm-backup.timer ]; then echo units; fi
# shellcheck disable=SC2016 # dpkg-query expands it
if [ $# -gt 0 ]; then dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null; fi
systemctl show --property=ActiveState,UnitFileState gpuswarm-backup.timer
exit 0
