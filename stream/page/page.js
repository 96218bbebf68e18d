// Keeps the figures beside the video fresh, and the video alive when the server comes back.
"use strict";

const EVERY_MS = 1000;
const byId = (id) => document.getElementById(id);
const number = (value, digits, unit) => (value === null || value === undefined ? "–" : value.toFixed(digits) + unit);
let started = null;
let lost = false; // the video is broken and wants to be asked for anew

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text; // labels come from a model's file: never as HTML
  return made;
}

function showTop(answer, online) {
  const rows = (answer ? answer.top : []).map(({ label, score }) => {
    const row = element("li");
    const bar = element("progress");
    bar.max = 1;
    bar.value = score;
    bar.setAttribute("aria-label", label);
    const name = element("span", "name", label);
    name.title = label;
    row.append(name, element("span", "score", (100 * score).toFixed(1) + " %"), bar);
    return row;
  });
  const none = answer ? "nothing above the threshold" : online ? "waiting for the model" : "no picture yet";
  if (!rows.length) rows.push(element("li", "none", none));
  byId("top").replaceChildren(...rows);
}

function showList(id, pairs) {
  byId(id).replaceChildren(...pairs.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
}

function show(state) {
  const { source, answer, frames } = state;
  byId("lamp").className = state.online ? "on" : "off";
  byId("lamp").textContent = state.online ? "live" : state.fault;
  showTop(answer, state.online);
  showList("speed", [
    ["camera", number(state.camera_fps, 1, " fps")],
    ["model", number(state.model_fps, 1, " fps")],
    ["inference", number(answer && answer.infer_ms, 1, " ms")],
    ["age of the answer", number(answer && 1000 * answer.age_s, 0, " ms")],
    ["frames skipped", `${frames.skipped} of ${frames.captured}`],
    ["viewers", `${state.stream.viewers} of ${state.stream.max}`],
  ]);
  showList("setup", [
    ["source", source ? source.name : "–"],
    ["size", source ? source.size.join(" × ") : "–"],
    ...(source && source.via ? [["read by", source.via]] : []),
    ...state.remarks.map((remark) => ["remark", remark]),
    ["model", state.model],
    ["backend", `${state.backend}, ${state.runtime} ${state.runtime_version}`],
    ["threads", String(state.threads)],
    ["running for", duration(state.uptime_s)],
  ]);
}

function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return `${Math.floor(seconds)} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

async function refresh() {
  try {
    const response = await fetch("/api/state", { signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    const state = await response.json();
    show(state);
    // A browser ends a broken multipart picture without saying so. Another server may have come within one of
    // our seconds: its start tells it from the one before.
    if (lost || (started !== null && state.started_s !== started)) byId("video").src = `/stream?again=${Date.now()}`;
    lost = false;
    started = state.started_s;
  } catch (error) {
    lost = true;
    byId("lamp").className = "off";
    byId("lamp").textContent = "Labelcam does not answer – is it still running?";
  }
  setTimeout(refresh, EVERY_MS);
}

byId("video").addEventListener("error", () => { lost = true; }); // too many viewers: again in a second
if (byId("video").complete && !byId("video").naturalWidth) lost = true; // before we could listen
refresh();
