"""An RTSP camera on loopback, in a process of its own: it can be killed, and held still."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
VIDEO = "videotestsrc is-live=true pattern=red ! video/x-raw,width=320,height=240,framerate=20/1"
AUDIO = "audiotestsrc is-live=true ! audioconvert ! rtpL16pay name=pay0 pt=97"
CODECS = {
    "h264": "videoconvert ! openh264enc gop-size=10 ! h264parse config-interval=-1 ! rtph264pay pt=96",
    "jpeg": "videoconvert ! video/x-raw,format=I420 ! jpegenc ! rtpjpegpay pt=26",
}


class RtspServer:
    """Sends a red picture of 320x240 over `transport`, with sound before it if asked to."""

    def __init__(
        self, codec: str = "h264", transport: str = "tcp", login: str = "", sound: bool = False
    ) -> None:
        words = [codec, transport, login, "sound" if sound else ""]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.rtsp_server", *words], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdout is not None
        self._said = self._process.stdout
        self.url = f"rtsp://127.0.0.1:{self._said.readline().strip()}/camera"

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Somebody pulls its plug. May be called twice."""
        self._process.kill()
        self._process.wait()
        self._said.close()

    def hold(self) -> None:
        """Its connections stay, nothing comes."""
        os.kill(self._process.pid, signal.SIGSTOP)


def serve(codec: str, transport: str, login: str, sound: str) -> None:
    import gi

    for namespace in ("Gst", "GstRtsp", "GstRtspServer"):
        gi.require_version(namespace, "1.0")
    from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

    Gst.init(None)
    server: Any = GstRtspServer.RTSPServer(service="0", address="127.0.0.1")
    factory = GstRtspServer.RTSPMediaFactory()
    video = f"{VIDEO} ! {CODECS[codec]} name=pay{1 if sound else 0}"
    factory.set_launch(f"( {AUDIO if sound else ''} {video} )")
    factory.set_shared(True)
    factory.set_protocols(getattr(GstRtsp.RTSPLowerTrans, transport.upper()))
    if login:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(*login.split(":")), token)
        server.set_auth(auth)
        factory.add_role_from_structure(
            Gst.Structure.new_from_string("viewer, media.factory.access=true, media.factory.construct=true")
        )
    server.get_mount_points().add_factory("/camera", factory)
    server.attach(None)
    sys.stdout.write(f"{server.get_bound_port()}\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    serve(*sys.argv[1:])
