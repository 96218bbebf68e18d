"""`make benchmark`: every figure beside its peer, measured in the same run, as a Markdown table.

__main__.py        runs the parts and prints their table
classify.py        one frame, against MediaPipe and bare invoke()
peer_mediapipe.py  the former, in an environment of its own
clip.py            the whole road, against a plain loop and bare invoke()
live.py            the running program, as its log and its viewers see it
viewers.py         those viewers, in a process of their own
slow.py            the program with a slow model
table.py           a row, and the table
"""
