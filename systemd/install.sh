#!/bin/sh
# A camera as a service, to be run as root:   systemd/install.sh [--on-demand] [--venv DIR] NAME [OPTION...]
#
#   systemd/install.sh front --source /dev/v4l/by-id/usb-... --port 8001
#
# NAME is yours; the options are those of run.py. They are written to /etc/labelcam/NAME.args unless that is there
# already. After changing --host or --port in it, and to bring a newer Labelcam to /opt/labelcam, run this again.
#
#   --on-demand   systemd holds the port, and the first viewer starts the camera
#   --venv DIR    an environment that has all it needs, instead of making one with PYTHON (python3)
#   --root DIR    put everything below DIR and start nothing
set -eu
umask 022

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

kind=service other=socket venv='' root=''
while [ $# -gt 0 ]; do
    case $1 in
        --on-demand) kind=socket other=service ;;
        --venv) venv=${2:?--venv needs a folder} && shift ;;
        --root) root=$(cd "${2:?--root needs a folder}" 2>/dev/null && pwd) || fail "there is no folder $2" && shift ;;
        -*) fail "no option is called $1 - those of run.py come after the name" ;;
        *) break ;;
    esac
    shift
done
name=${1-}
case $name in
    '' | *[!A-Za-z0-9_-]*) fail "give the camera a name of letters, digits, _ and -, such as: install.sh front" ;;
esac
shift
[ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "needs root - type: sudo systemd/install.sh $name"
[ -z "$venv" ] || [ -x "$venv/bin/python" ] || fail "there is no $venv/bin/python - make it: python3 -m venv $venv"

here=$(cd "$(dirname "$0")/.." && pwd)
app=$root/opt/labelcam
units=$root/etc/systemd/system
args=$root/etc/labelcam/$name.args

tell_systemd() {
    systemctl -q ${root:+--root="$root"} "$@" || fail "systemctl $* failed - type: journalctl -u labelcam@$name -n 20"
}

mkdir -p "$app" "$units" "${args%/*}" || fail "cannot write to $root/opt and $root/etc"

# Copied: a service needs nobody's home folder, and does not change when somebody edits the checkout.
if [ "$here" != "$app" ]; then
    (cd "$here" && tar -c --exclude=__pycache__ --exclude=models/downloads --owner=0 --group=0 --mode=u=rwX,go=rX \
        run.py stream backends models systemd requirements*.txt) | tar -x -C "$app" || fail "cannot copy to $app"
fi

if [ -n "$venv" ]; then
    venv=$(cd "$venv" && pwd)
    [ "$venv" = "$app/.venv" ] || { rm -rf "$app/.venv" && ln -s "$venv" "$app/.venv"; }
else
    [ ! -L "$app/.venv" ] || rm "$app/.venv"
    system=''
    [ ! -e "$root/etc/nv_tegra_release" ] || system=--system-site-packages # NVIDIA's modules are there
    "${PYTHON:-python3}" -m venv $system "$app/.venv" ||
        fail "cannot make an environment - type: apt install python3-venv"
    "$app/.venv/bin/python" -m pip install --disable-pip-version-check -q -r "$app/requirements.txt" ||
        fail "cannot install the packages - is there a network? Or name an environment with --venv DIR"
fi
cd "$app"
.venv/bin/python -m compileall -q run.py stream backends models || fail "cannot compile what is in $app"

# An option and its value on a line, quoted as for a shell.
words() {
    for word in "$@"; do
        case $word in
            -*) printf '\n' ;;
            *) printf ' ' ;;
        esac
        case $word in
            '' | *[!A-Za-z0-9_./:@%,+=-]*) printf "'%s'" "$(printf %s "$word" | sed "s/'/'\\\\''/g")" ;;
            *) printf %s "$word" ;;
        esac
    done
    echo
}

new=''
if [ ! -e "$args" ]; then
    new=$args.new
    trap 'rm -f "$new"' EXIT
    (umask 077 && : >"$new") # it may hold passwords
    {
        echo "# The options of labelcam@$name. After a change: systemctl restart labelcam@$name"
        words "$@"
    } >"$new"
elif words "$@" | grep -vxFqf "$args"; then # some of them are not in it
    echo "install.sh: $args is there and stays as it is - edit it, and run this again without options" >&2
fi

answer=$(.venv/bin/python - "@${new:-$args}" <<'EOF'
import socket, sys
from stream.cli import parse

try:
    options = parse(["live", "--wait-for-camera", *sys.argv[1:]])
except SystemExit as end:  # 0: of --help
    sys.exit(end.code or "give options that start something")
try:
    host, port = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0][4][:2]
except OSError as error:
    sys.exit(f"{options.host}: {error.strerror}")
print(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", options.token or "")
EOF
) || fail "these options of $name do not work - see the line above"
address=${answer%% *} token=${answer#* }
if [ -n "$new" ]; then
    case $address in
        127.* | '[::1]'*) ;;
        *)
            if [ -z "$token" ]; then # one that stays: without it, each start makes its own
                token=$(od -An -N 12 -tx1 /dev/urandom | tr -d ' \n')
                echo "--token $token" >>"$new"
            fi
            ;;
    esac
    mv "$new" "$args"
fi

cp "systemd/labelcam@.service" "systemd/labelcam@.socket" "$units"
if [ -e "$root/etc/nv_tegra_release" ] || [ -e "$root/dev/nvidiactl" ]; then
    mkdir -p "$units/labelcam@.service.d"
    cp systemd/nvidia.conf "$units/labelcam@.service.d"
fi
mkdir -p "$units/labelcam@$name.socket.d"
printf '[Socket]\nListenStream=\nListenStream=%s\n' "$address" >"$units/labelcam@$name.socket.d/address.conf"

tell_systemd disable "labelcam@$name.$other"
tell_systemd enable "labelcam@$name.$kind"
[ -z "$root" ] || exit 0
tell_systemd daemon-reload
tell_systemd stop "labelcam@$name.socket" "labelcam@$name.service"
tell_systemd start "labelcam@$name.$kind"
echo "labelcam@$name: http://$address/${token:+?token=$token} - how it is: systemctl status labelcam@$name"
