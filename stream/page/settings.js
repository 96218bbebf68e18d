// The settings: what can be chosen here, sent when it is chosen, and shown when somebody else has chosen.

const HANDS_MS = 3000; // so long after a touch, a control is the user's
const SLIDER_MS = 150;
const SELECT_MS = 400; // the arrow keys pass by models that are not meant
const MODEL = ["model", "backend", "mode"];

const byId = (id) => document.getElementById(id);
const form = byId("settings");
const said = byId("settings-said");
const sliders = [...form.querySelectorAll("input")];
const touched = {}; // when, by name
const wish = {}; // not sent yet
let asked = {}; // sent, not answered yet
let timer = 0;
let choices = [];
let settings = null; // as the server has them
let change = { state: "idle" }; // of the model
let trouble = "";

const shown = {
  threshold: (value) => `${Math.round(100 * value)} %`,
  smoothing: (value) => value.toFixed(2),
};

/** Of a server that we do not know yet. */
export async function askForSettings(state) {
  trouble = "";
  followSettings(state);
  try {
    const response = await fetch("/api/settings", { signal: AbortSignal.timeout(10000) });
    const told = await response.json();
    if (!response.ok) throw new Error(told.error);
    ({ choices } = told);
    byId("controls").disabled = false;
    for (const slider of sliders) [slider.min, slider.max] = told.limits[slider.name];
  } catch (error) {
    trouble = `settings: ${error.message}`;
  }
  show();
}

export function followSettings(state) {
  ({ settings, switch: change } = state);
  if (Object.keys(wish).length && !timer) send();
  show();
}

const mine = (name) => name in wish || name in asked || performance.now() - (touched[name] ?? -HANDS_MS) < HANDS_MS;

function show() {
  if (!settings) return;
  for (const slider of sliders) {
    if (!mine(slider.name)) slider.value = settings[slider.name];
    level(slider);
  }
  const model = change.state === "loading" ? change : settings;
  if (!MODEL.some(mine)) offer(model);
  tell();
}

function level(slider) {
  const { min, max, value, name } = slider;
  const text = (shown[name] ?? String)(Number(value));
  const output = form.querySelector(`output[for="${name}"]`);
  if (output.textContent !== text) output.textContent = text;
  slider.setAttribute("aria-valuetext", text);
  slider.style.setProperty("--share", (value - min) / (max - min));
}

/** Fill the three lists, each for what is chosen in the one before. */
function offer({ model, backend, mode }) {
  const ofModel = choices.filter((choice) => choice.model === model);
  const modes = ofModel.find((choice) => choice.backend === backend)?.modes ?? [];
  options("model", [...new Set(choices.map((choice) => choice.model))], model);
  options("backend", ofModel.map((choice) => choice.backend), backend);
  options("mode", modes, mode);
}

function options(name, values, value) {
  const select = byId(name);
  const all = values.length ? values : [value ?? "–"];
  if ([...select.options].map((option) => option.value).join("\n") !== all.join("\n")) {
    select.replaceChildren(...all.map((one) => new Option(one, one)));
  }
  select.disabled = all.length < 2;
  const chosen = value ?? all[0];
  if (select.value !== chosen) select.value = chosen; // not each second: the list may be open
}

const duration = (ms) => (ms < 1000 ? `${(ms ?? 0).toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`);

function tell() {
  const names = [change.model, change.backend, change.mode].filter(Boolean).join(", ");
  const gap = typeof change.gap_ms === "number" ? `, longest gap in the video ${duration(change.gap_ms)}` : "";
  const texts = {
    idle: "",
    loading: `loading ${names} …${Object.keys(wish).length ? " – the other settings wait for it" : ""}`,
    done: `${names}: loaded in ${duration(change.load_ms)}${gap}`,
    failed: change.error,
  };
  const text = trouble || texts[change.state];
  if (said.textContent !== text) said.textContent = text;
  said.classList.toggle("bad", Boolean(trouble || change.state === "failed"));
  said.classList.toggle("busy", change.state === "loading");
}

function want(changes, wait_ms) {
  Object.assign(wish, changes);
  clearTimeout(timer);
  timer = setTimeout(() => {
    timer = 0;
    send();
  }, wait_ms);
}

async function send() {
  if (Object.keys(asked).length || change.state === "loading") return; // goes out when that is over
  asked = { ...wish };
  for (const name of Object.keys(asked)) delete wish[name];
  try {
    const response = await fetch("/api/settings", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(asked),
      signal: AbortSignal.timeout(10000),
    });
    const told = await response.json();
    if (response.status === 409) Object.assign(wish, { ...asked, ...wish }); // somebody else was first
    trouble = response.ok || response.status === 409 ? "" : told.error;
    if (response.ok) ({ settings, switch: change } = told);
  } catch (error) {
    trouble = `not changed: ${error.message}`;
  }
  for (const name of Object.keys(asked)) delete touched[name];
  asked = {};
  show();
}

for (const kind of ["input", "keydown", "pointerdown"]) {
  form.addEventListener(kind, (event) => {
    if (event.target.name) touched[event.target.name] = performance.now();
  });
}

for (const slider of sliders) {
  slider.addEventListener("input", () => {
    level(slider);
    want({ [slider.name]: Number(slider.value) }, SLIDER_MS);
  });
}

for (const name of MODEL) {
  byId(name).addEventListener("change", () => {
    const chosen = Object.fromEntries(MODEL.map((one) => [one, byId(one).value]));
    const ofModel = choices.filter((choice) => choice.model === chosen.model);
    const choice = ofModel.find(({ backend }) => backend === chosen.backend) ?? ofModel[0];
    const mode = choice.modes.includes(chosen.mode) ? chosen.mode : choice.modes[0];
    offer({ model: choice.model, backend: choice.backend, mode });
    want({ model: choice.model, backend: choice.backend, ...(mode && { mode }) }, SELECT_MS);
  });
}

form.addEventListener("submit", (event) => event.preventDefault());
