#!/bin/sh
# Takes a camera's service away again, to be run as root:   systemd/uninstall.sh [--purge] NAME
#
# The program goes with the last of them. What is yours stays: /etc/labelcam/NAME.args, and the logs and models in
# /var/lib/labelcam/NAME.
#
#   --purge       these, too
#   --root DIR    what install.sh --root DIR has put there
set -eu

fail() {
    echo "uninstall.sh: $*" >&2
    exit 1
}

purge='' root=''
while [ $# -gt 0 ]; do
    case $1 in
        --purge) purge=yes ;;
        --root) root=$(cd "${2:?which folder}" && pwd) && shift ;;
        -*) fail "no option is called $1" ;;
        *) break ;;
    esac
    shift
done
name=${1-}
case $name in
    '' | *[!A-Za-z0-9_-]*) fail "give the camera's name, such as: uninstall.sh front" ;;
esac
[ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "needs root - type: sudo systemd/uninstall.sh $name"

app=$root/opt/labelcam
units=$root/etc/systemd/system
cd / # the folder this is in may go

tell_systemd() {
    systemctl -q ${root:+--root="$root"} "$@" || fail "systemctl $* failed"
}

# Folders that others have put something into stay.
remove_empty() {
    for folder in "$@"; do
        [ ! -d "$folder" ] || rmdir --ignore-fail-on-non-empty "$folder"
    done
}

if [ -e "$units/labelcam@.service" ]; then
    [ -n "$root" ] || tell_systemd stop "labelcam@$name.socket" "labelcam@$name.service"
    tell_systemd disable "labelcam@$name.service" "labelcam@$name.socket"
fi
rm -f "$units/labelcam@$name.socket.d/address.conf"
remove_empty "$units/labelcam@$name.socket.d"

last=yes
for installed in "$units"/labelcam@*.socket.d/address.conf; do
    [ ! -e "$installed" ] || last=''
done
if [ -n "$last" ]; then
    rm -f "$units/labelcam@.service" "$units/labelcam@.socket" "$units/labelcam@.service.d/nvidia.conf"
    for part in run.py __pycache__ stream backends models systemd .venv; do
        rm -rf "${app:?}/$part"
    done
    rm -f "$app"/requirements*.txt
    remove_empty "$units/labelcam@.service.d" "$app"
fi
if [ -n "$purge" ]; then
    rm -f "$root/etc/labelcam/$name.args"
    rm -rf "$root/var/lib/labelcam/$name" "$root/var/lib/private/labelcam/$name"
    remove_empty "$root/var/lib/labelcam" "$root/var/lib/private/labelcam"
fi
remove_empty "$root/etc/labelcam"

[ -n "$root" ] || tell_systemd daemon-reload
