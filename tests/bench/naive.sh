#!/bin/sh
# What init containers do without podzero: wait until the first pod has a name, then follow it.
#   naive.sh NAME BASE_CONF CONF
# It neither looks whether a server answers there nor whether it is the master.
set -eu
cp "$2" "$3"
until ip=$(getent hosts "$1"); do
  sleep 1
done
echo "slaveof ${ip%% *} 6379" >>"$3"
