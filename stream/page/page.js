// Keeps this page and its server together: one picture, one stream of events, both asked for again when they break.
import { clock, count, freeze, history, showAnswer, showState } from "./panels.js";
import { askForSettings, followSettings } from "./settings.js";

const SHORTEST_MS = 500;
const LONGEST_MS = 8000;
const SILENT_MS = 5000; // without the event that comes every second: the line is dead, whatever it says
const STUCK = 3; // seconds in which frames came and the picture did not change

const byId = (id) => document.getElementById(id);
const [video, still, figure, lamp] = ["video", "still", "figure", "lamp"].map(byId);

/** Does it again: after half a second, 1, 2, 4, 8, 8..., each a little off, so that not all pages come at once. */
class BackOff {
  constructor(again) {
    this.again = again;
    this.well();
  }
  later() {
    if (this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      this.again();
    }, this.next * (0.8 + 0.4 * Math.random()));
    this.next = Math.min(2 * this.next, LONGEST_MS);
  }
  well() {
    this.stop();
    this.next = SHORTEST_MS;
  }
  stop() {
    clearTimeout(this.timer);
    this.timer = 0;
  }
}

// The events.

let events = null;
let heard = 0; // when something came last
let state = null; // the newest
let connected = false;
const listening = new BackOff(listen);

function listen() {
  if (document.hidden) return;
  heard = performance.now();
  events = new EventSource("api/events");
  events.onerror = lose; // its own way of trying again knows no back-off
  const kinds = { history, state: follow, answer: showAnswer };
  for (const [kind, show] of Object.entries(kinds)) {
    events.addEventListener(kind, (event) => {
      heard = performance.now();
      show(JSON.parse(event.data));
    });
  }
}

function follow(now) {
  const another = now.started_s !== state?.started_s;
  // A browser ends a broken picture without saying so: what ended the events has most likely ended it as well.
  const broken = state && (another || !connected);
  state = now;
  connected = true;
  listening.well();
  lamp.className = now.online ? "on" : "off";
  say(lamp, now.online ? ["live", ...now.remarks].join(" – ") : now.fault);
  showState(now);
  if (another) askForSettings(now);
  else followSettings(now);
  if (broken || stuck(now)) watch();
  notice();
}

function lose() {
  deafen();
  connected = false;
  listening.later();
  notice();
  explain();
}

function deafen() {
  events?.close();
  events = null;
  listening.stop();
}

async function explain() {
  let why = "Labelcam does not answer – is it still running?";
  try {
    const response = await fetch("/healthz", { signal: AbortSignal.timeout(3000) });
    why = response.ok ? "too many pages are open – trying again" : await reason(response);
  } catch (error) {
    // A browser has six connections to a server, and each of its pages holds two.
    if (error.name === "TimeoutError") why = "no answer yet – do other tabs or windows show this camera, too?";
  }
  if (connected || document.hidden) return;
  lamp.className = "off";
  say(lamp, why);
}

async function reason(response) {
  try {
    const told = await response.json();
    return told.error || told.reason;
  } catch {
    return `the server answers ${response.status}`;
  }
}

// The picture.

let pausedAt = null;
let refused = false; // the last time we asked for it
let told = ""; // a notice for a few seconds
let seen = ""; // a thumbnail, to tell whether it moves
let unmoved = 0;
let picturesThen = 0;
const watching = new BackOff(watch);
const thumbnail = document.createElement("canvas");
[thumbnail.width, thumbnail.height] = [32, 24];
const pen = thumbnail.getContext("2d", { willReadFrequently: true });

function watch() {
  if (pausedAt || document.hidden) return;
  watching.stop();
  unmoved = 0;
  video.src = `stream?again=${Date.now()}`; // never the same: a browser would show what it has
}

/** Keep the picture there is, and pull no other. */
function hold() {
  watching.well();
  if (video.naturalWidth) {
    [still.width, still.height] = [video.naturalWidth, video.naturalHeight];
    still.getContext("2d").drawImage(video, 0, 0);
    still.hidden = false;
  }
  video.removeAttribute("src");
}

function come() {
  if (!video.hasAttribute("src")) return; // too late: it is on hold
  refused = false;
  watching.well();
  still.hidden = true;
  notice();
}

function turnedAway() {
  if (!video.hasAttribute("src")) return;
  refused = true;
  video.removeAttribute("src");
  watching.later();
  notice();
}

/** Pictures are painted, or nobody watches, not even we; but what is on show stays: our connection has ended. */
function stuck(now) {
  const nobody = now.stream.viewers === 0; // watches, not even we
  const moving = now.online && (nobody || now.stream.pictures > picturesThen);
  picturesThen = now.stream.pictures;
  if (!moving || pausedAt || !video.naturalWidth) return false;
  pen.drawImage(video, 0, 0, thumbnail.width, thumbnail.height);
  const shown = pen.getImageData(0, 0, thumbnail.width, thumbnail.height).data.join();
  unmoved = shown === seen ? unmoved + 1 : 0;
  seen = shown;
  return unmoved >= STUCK;
}

function notice() {
  figure.classList.toggle("stale", Boolean(state) && !connected);
  const { viewers, max } = state ? state.stream : { viewers: 0, max: 1 };
  const full = viewers >= max ? `No place is left (${max})` : "The picture does not come";
  const lasting = pausedAt ? `Paused at ${pausedAt}` : refused ? `${full} – trying again` : "";
  say(byId("notice"), told || lasting);
}

video.addEventListener("load", come); // the first picture
video.addEventListener("error", turnedAway);

// Whether somebody looks.

function look() {
  if (document.hidden) {
    deafen();
    hold();
  } else if (!events) {
    listening.well();
    listen();
    watch();
  }
}

document.addEventListener("visibilitychange", look);
addEventListener("pageshow", (event) => event.persisted && look());
addEventListener("pagehide", deafen);

setInterval(() => {
  if (document.hidden) return;
  count();
  if (events && performance.now() - heard > SILENT_MS) lose();
}, 200);

// Buttons and keys.

function say(where, text) {
  if (where.textContent !== text) where.textContent = text; // what is set anew is read out anew
}

function press(id, on, text) {
  byId(id).classList.toggle("on", on);
  byId(id).firstElementChild.textContent = text;
}

/** For a few seconds. */
function tell(text) {
  told = text;
  notice();
  setTimeout(() => {
    if (told === text) told = "";
    notice();
  }, 5000);
}

function pause() {
  pausedAt = pausedAt ? null : clock(new Date());
  press("pause", Boolean(pausedAt), pausedAt ? "Go on" : "Pause");
  if (pausedAt) hold();
  else watch();
  refused = false;
  notice();
}

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else figure.requestFullscreen().catch((error) => tell(`No full screen: ${error.message}`));
}

async function snapshot() {
  try {
    const response = await fetch("snapshot", { signal: AbortSignal.timeout(10000) });
    if (!response.ok) throw new Error(await reason(response));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    const taken = new Date(1000 * response.headers.get("X-Timestamp"));
    link.download = `labelcam-${taken.toISOString().slice(0, 19).replaceAll(":", "-")}Z.jpg`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (error) {
    tell(`No snapshot: ${error.message}`);
  }
}

byId("pause").addEventListener("click", pause);
byId("fullscreen").addEventListener("click", fullScreen);
byId("fullscreen").hidden = !document.fullscreenEnabled; // of a figure: not on every phone
byId("freeze").addEventListener("click", () => press("freeze", ...freeze(clock(new Date()))));
byId("snapshot").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return; // in a tab of its own
  event.preventDefault();
  snapshot();
});

const KEYS = { " ": "pause", f: "fullscreen", s: "snapshot", a: "freeze" };
const keys = byId("keys");

document.addEventListener("keydown", (event) => {
  const id = KEYS[event.key.toLowerCase()];
  const busy = event.target.closest("input, select, textarea") || (event.key === " " && event.target.closest("button, a"));
  if (!id || !keys.checked || busy || event.repeat || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  event.preventDefault(); // space would scroll
  byId(id).click();
});

function showKeys() {
  document.body.classList.toggle("no-keys", !keys.checked);
}

// Whoever dictates or steers by voice wants no single keys: WCAG 2.1.4.
const remembered = (read) => {
  try {
    return read(localStorage);
  } catch { // a browser that keeps nothing refuses even to be asked
    return null;
  }
};
keys.checked = remembered((kept) => kept.getItem("keys")) !== "off";
keys.addEventListener("change", () => {
  remembered((kept) => kept.setItem("keys", keys.checked ? "on" : "off"));
  showKeys();
});
showKeys();

// The start.

const address = new URL(location.href);
if (address.searchParams.has("token")) { // a cookie has it now; the address bar is seen and passed on
  address.searchParams.delete("token");
  window.history.replaceState(null, "", address);
}
if (document.hidden) hold();
else if (video.complete && !video.naturalWidth) turnedAway(); // before we could listen
listen();
