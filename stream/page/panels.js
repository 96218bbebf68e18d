// Shows what the server tells: the answer, the figures, the latencies, the events, the set-up.

const STAGES = {
  wait: "wait", pre: "prepare", infer: "infer", post: "rank", age: "to the answer",
  draw: "paint", encode: "encode", picture_age: "to the picture",
};
const EVENTS = {
  connect: "connected", lost: "lost", stall: "stalled", broken: "broken pictures", repeat: "same picture again and again",
  slow: "slow", size: "size changed", resume: "goes on", switch: "model switched", switch_failed: "model not switched",
  unanswered: "no answer", answered: "answers again",
};
const BAD = ["lost", "stall", "broken", "switch_failed", "unanswered"];
const SECONDS = 60;
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content); // as text: labels come from a model's file
  return made;
}

function say(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

const shown = new Map(); // what each list was made from: made again only when that has changed
function fill(id, facts, make) {
  const now = JSON.stringify(facts);
  if (shown.get(id) === now) return;
  shown.set(id, now);
  byId(id).replaceChildren(...facts.flatMap(make));
}

const fixed = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const ms = (value) => fixed(value, value < 1 ? 2 : value < 100 ? 1 : 0);

export const clock = (at) => at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

// The answer.

let newest = null; // answer
let came = 0; // when it came
let online = false;
let frozen = null; // since when, as text
let wanted = null; // the settings: which model is to answer

export function showAnswer(answer) {
  newest = answer;
  came = performance.now();
  count();
  if (!frozen) paint();
}

/** Stand still, or go on. The button's state and word. */
export function freeze(now) {
  frozen = frozen ? null : now;
  byId("top").parentElement.classList.toggle("frozen", Boolean(frozen));
  paint();
  return [Boolean(frozen), frozen ? "Go on" : "Freeze"];
}

function paint() {
  const none = newest ? "nothing above the lowest score" : online ? "waiting for the model" : "no picture yet";
  const rows = newest?.top ?? [];
  const list = byId("top");
  if (list.firstElementChild?.className === "none") list.replaceChildren();
  while (list.children.length > rows.length) list.lastElementChild.remove();
  while (list.children.length < rows.length) {
    list.append(element("li", "", element("span", "name"), element("span", "score"), element("span", "bar", element("i"))));
  }
  rows.forEach(({ label, score }, place) => {
    const [name, number, bar] = list.children[place].children;
    if (name.title !== label) {
      const comma = label.indexOf(", "); // ImageNet's labels are lists of synonyms
      const first = comma < 0 ? label : label.slice(0, comma);
      name.title = label;
      name.replaceChildren(first, element("span", "", label.slice(first.length)));
    }
    say(number, `${(100 * score).toFixed(1)} %`);
    bar.firstElementChild.style.setProperty("--share", score);
  });
  if (!rows.length) list.append(element("li", "none", none));
  const frame = newest ? `frame ${newest.seq}` : "–";
  const other = newest && wanted && (newest.model !== wanted.model || newest.backend !== wanted.backend)
    ? ` by the fallback, ${newest.model} on ${newest.backend}` : "";
  say(byId("answer-frame"), frozen ? `${frame}, frozen at ${frozen}` : newest ? `${frame}, inferred in ${ms(newest.infer_ms)} ms${other}` : "–");
}

/** The answer gets older whether something comes or not. */
export function count() {
  const age_s = newest && newest.age_s + (performance.now() - came) / 1000;
  say(byId("age"), fixed(age_s, age_s < 10 ? 2 : 1));
}

// The latencies.

const lines = new Map(); // stage -> its last seconds' medians
let lastSecond = 0; // that they reach to
let measured = ""; // the model they are of

export function history({ stages }) {
  lines.clear();
  [lastSecond, measured] = [0, ""];
  for (const [stage, values] of Object.entries(stages)) {
    lines.set(stage, [...Array(SECONDS).fill(null), ...values].slice(-SECONDS));
  }
}

function showLatency({ stages, uptime_s, model, backend, mode }) {
  const now = [model, backend, mode].join("\n");
  if (measured && measured !== now) {
    lines.clear(); // two models' times are never in one line
    lastSecond = 0;
  }
  measured = now;
  const second = Math.floor(uptime_s);
  const steps = lastSecond ? Math.min(SECONDS, second - lastSecond) : 0;
  lastSecond = second;
  Object.keys(STAGES).forEach((stage, place) => {
    const { last_ms = null, ...figures } = stages[stage] ?? {};
    const values = lines.get(stage) ?? Array(SECONDS).fill(null);
    for (let step = 0; step < steps; step += 1) values.push(last_ms); // more than one: the state came a little late
    lines.set(stage, values.slice(-SECONDS));
    const [, picture, ...cells] = byId("latency").rows[place].cells;
    drawLine(picture, lines.get(stage), STAGES[stage]);
    ["p50_ms", "p90_ms", "p99_ms"].forEach((name, column) => say(cells[column], ms(figures[name])));
  });
}

function latencyRow(stage) {
  const name = element("th", "", STAGES[stage]);
  name.scope = "row";
  const line = document.createElementNS(SVG, "svg");
  line.setAttribute("viewBox", `0 0 ${SECONDS - 1} 20`);
  line.setAttribute("preserveAspectRatio", "none");
  line.setAttribute("role", "img");
  for (const part of ["area", "line"]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", part);
    line.append(path);
  }
  const row = element("tr", "", name, element("td", "", line), ...["–", "–", "–"].map((none) => element("td", "", none)));
  row.dataset.stage = stage;
  drawLine(row.cells[1], [], STAGES[stage]);
  return row;
}

byId("latency").append(...Object.keys(STAGES).map(latencyRow));

function drawLine(cell, values, name) {
  const there = values.filter((value) => value !== null);
  const [lowest, highest] = [Math.min(...there), Math.max(...there)];
  const runs = []; // of seconds without a gap
  values.forEach((value, second) => {
    if (value === null) return;
    if (second === 0 || values[second - 1] === null) runs.push([]);
    runs.at(-1).push([second, 19 - 18 * (value / (highest || 1))]);
  });
  const joined = (points) => points.map(([x, y]) => `${x} ${y.toFixed(1)}`).join("L");
  const line = runs.map((points) => `M${joined(points)}${points.length < 2 ? "h.01" : ""}`).join("");
  const area = runs.map((points) => `M${points[0][0]} 20L${joined(points)}L${points.at(-1)[0]} 20Z`).join("");
  const [picture] = cell.children;
  picture.children[0].setAttribute("d", area);
  picture.children[1].setAttribute("d", line);
  const text = there.length ? `${name}: ${ms(lowest)} to ${ms(highest)} ms within the last minute` : `${name}: no figures yet`;
  picture.setAttribute("aria-label", text);
  cell.title = text;
}

// Everything else.

export function showState(state) {
  const { frames, stream, source } = state;
  online = state.online;
  wanted = state.settings;
  showAnswer(state.answer);
  showLatency(state);
  say(byId("camera-fps"), fixed(state.camera_fps, 1));
  say(byId("model-fps"), fixed(state.model_fps, 1));
  say(byId("skipped"), frames.skipped.toLocaleString("en").replaceAll(",", " "));
  say(byId("skipped-share"), frames.captured ? `(${((100 * frames.skipped) / frames.captured).toFixed(0)} %)` : "");
  say(byId("viewers"), String(stream.viewers));
  say(byId("viewers-max"), `of ${stream.max}`);
  fill("uptime", duration(state.uptime_s), ([value, unit]) => [element("b", "", value), ` ${unit} `]);
  fill("events", happened(state.events), eventRow);
  fill("setup", setUp(state, source), ([name, value]) => [element("dt", "", name), element("dd", "", value)]);
  const log = byId("log");
  log.hidden = !state.log;
  if (state.log) log.title = state.log.name;
  say(byId("version"), `Labelcam ${state.version}`);
  const several = state.cameras.length > 1;
  fill("cameras", several ? ["", ...state.cameras] : [], (name) => cameraLink(name, state.camera));
  if (several) document.title = `${state.camera} - Labelcam`;
}

/** To a camera's page; without a name, to that of all. */
function cameraLink(name, here) {
  const link = element("a", "", name || "all cameras");
  link.href = name ? `/camera/${name}/` : "/camera/";
  if (name === here) link.setAttribute("aria-current", "page");
  return link;
}

function duration(seconds) {
  const whole = Math.floor(seconds);
  const units = [[Math.floor(whole / 86400), "d"], [Math.floor(whole / 3600) % 24, "h"], [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
  const first = Math.min(3, units.findIndex(([value]) => value) >>> 0);
  return units.slice(first, first + 2).map(([value, unit]) => [String(value), unit]);
}

/** Newest first, and a camera that connects after it was lost is back. */
function happened(events) {
  let gone = false;
  const told = events.map(({ event, detail, t_s }) => {
    const word = event === "connect" && gone ? "back" : (EVENTS[event] ?? event);
    if (event === "lost" || event === "connect") gone = event === "lost";
    return [t_s, word, detail, BAD.includes(event)];
  });
  return told.length ? told.slice(-8).reverse() : [null];
}

function eventRow(one) {
  if (!one) return element("li", "none", "nothing yet");
  const [t_s, word, detail, bad] = one;
  const at = new Date(1000 * t_s);
  const today = at.toDateString() === new Date().toDateString();
  const time = element("time", "", clock(at));
  time.dateTime = at.toISOString();
  time.title = at.toLocaleString();
  if (!today) time.prepend(`${at.toLocaleDateString([], { day: "numeric", month: "short" })} `);
  return element("li", "", time, element("p", "", element("b", bad ? "bad" : "", word), element("span", "", detail ? ` ${detail}` : "")));
}

function setUp(state, source) {
  const { log } = state;
  const facts = [
    ["source", source?.name ?? `${state.asked}, not there`],
    ["picture", source && `${source.size.join(" × ")}${source.fps ? ` at ${+source.fps.toFixed(2)} fps` : ""}`],
    ["read by", source?.via],
    ["note", source?.note],
    ["model", state.model],
    ["backend", [state.backend, state.mode].filter(Boolean).join(", ")],
    ["runtime", [state.runtime, state.runtime_version].filter(Boolean).join(" ")],
    ["runs on", [state.device, state.threads && `${state.threads} thread${state.threads > 1 ? "s" : ""}`].filter(Boolean).join(", ")],
    ["remark", state.note],
    ["camera lost", state.losses > 1 ? `${state.losses} times` : state.losses && "once"],
    ["broken pictures", state.broken_pictures],
    ["log", log ? `${log.name}, ${(log.bytes / 1e6).toFixed(1)} MB${log.lost_lines ? `, ${log.lost_lines} lines lost` : ""}` : "none – start with --log FILE"],
  ];
  return facts.filter(([, value]) => value).map(([name, value]) => [name, String(value)]);
}
