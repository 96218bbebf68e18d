"""The road of a frame, a line a step. Start reading here.

cli.py        reads the options; process.py is what every process sets for itself; live.py builds what follows
              from the options, and takes it down again
listening.py  the socket, first of all: a taken port costs nobody a camera
loading.py    the model, loaded by its backend and warmed up
sources.py    what --source may be; v4l2.py opens a camera by devices.py, gstreamer.py plays what pipelines.py
              writes, cameras.py opens the rest, demo.py draws where there is no camera
station.py    one camera, its model, all who watch: the parts made, started and ended together
pipeline.py   the three loops together: who hands what to whom, how they start and end
capture.py    first loop: source -> Frame, numbered and stamped, again and again when a camera is lost;
              reader.py is its thread that may be left behind with a driver that blocks
latest.py     holds the newest item only: how frames and answers pass from loop to loop
classify.py   second loop: the newest Frame -> prepare, infer, top-k -> Answer
render.py     third loop: Frame + newest Answer -> overlay.py paints -> JPEG -> Picture, if somebody watches
hub.py        the newest Picture in each width, and how many watch it; multipart.py makes it part of a stream
bulletin.py   what is new beside the pictures, for the page; vitals.py is what the newest records say
broadcast.py  sends both to everybody, from one thread
switch.py     changes model and settings of what runs
server.py     Flask's routes; page/ is what a browser gets; state.py what machines get
server_guard.py      whom everybody passes first; hosts.py says whose name is answered, server_errors.py what
                     is wrong, and redaction.py keeps secrets out of whatever is logged
server_control.py    what may be changed; server_compare.py logs; server_metrics.py what Prometheus reads;
                     openapi.json what every route takes and gives
server_waitress.py   serves the routes, and waits for nobody for long
service.py    what systemd is told and gives: that we serve and live, its socket, its journal
log.py        every step's times, JSON Lines, from a thread of its own; statistics.py sums them up
mqtt.py       what is seen, for an MQTT broker and Home Assistant, from a thread of its own

stills.py     the same steps for still pictures, in one process; bench.py starts many and lets them take turns
series.py     reads logs back; bootstrap.py says how sure their figures are
compare.py    holds one against the other; compare_report.py and compare_html.py tell of it;
              compare_process.py makes its page for a browser, of what log_folder.py finds
study.py      the tables of the study of 2020, from logs
doctor.py     what works here, and what to type for what does not

frames.py has what travels: Shot, Frame, Answer, Picture. rate.py counts frames, host.py names the machine,
jpeg.py says what is wrong with a camera's JPEG; outputs.py, tables.py and published.py serve the commands.
"""
