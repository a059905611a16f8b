#!/bin/sh
# Runs a command with the network cut off, loopback kept (Jupyter kernels talk over it), where the system lets a user
# make a network namespace of its own; elsewhere runs it as it is and says so.
if unshare -rn ip link set lo up 2>/dev/null; then
    exec unshare -rn sh -c 'ip link set lo up && exec "$@"' sh "$@"
fi
echo "No network namespace to be had here: the network stays on." >&2
exec "$@"
