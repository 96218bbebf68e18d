"""`make benchmark`: every figure beside its peer, measured in the same run, as a Markdown table.

__main__.py        runs the parts and prints their table
classify.py        one frame, against MediaPipe and bare invoke()
peer_mediapipe.py  the former, in an environment of its own
clip.py            the whole road, against a plain loop and bare invoke()
live.py            the running program, as its log and its viewers see it
slow.py            the program with a slow model
web.py             what viewers do to the program, and to its peers: slow, stalled, many, storms of them
peers.py           those peers: Flask the usual way, Motion
peer_flask.py      the former, a process of its own
heavy.py           the program with a model that keeps a core busy
switching.py       the gap in the video while the model is switched
pages.py           the page, its bytes and its first paint
fuzz.py            requests that nobody would send
viewers.py         viewers, in a process of their own
process.py         what the kernel says of a process
table.py           a row, and the table
"""
