// Links from complaints, keys and buttons, and the beginning.

// Choosing: these operations stand out, and a panel says all about them.

function choose(numbers, title) {
  state.chosen = new Set(numbers);
  state.keys = new Set(numbers.map((i) => data.columns.key.at[i]));
  const close = made("button", "Let go");
  close.type = "button";
  close.addEventListener("click", letGo);
  const rows = numbers.slice(0, 6).map((i) => made("div", undefined, made("p", `#${i} ${brief(data, i)}`), facts(told(i))));
  const more = numbers.length > 6 ? [made("p", `and ${numbers.length - 6} more, marked above`)] : [];
  const body = made("div", undefined, ...rows, ...more);
  body.className = "chosen";
  byId("panel").replaceChildren(made("header", undefined, made("b", title), close), body);
  byId("panel").hidden = false;
  redraw();
}

function letGo() {
  state.chosen = null;
  byId("panel").hidden = true;
  redraw();
}

// So far in that the operations fill some third of the view; of one that stays open, up to when it was given up.
function zoomTo(numbers) {
  const from = Math.min(...numbers.map((i) => data.began[i]));
  const to = Math.max(...numbers.map((i) => (Number.isFinite(data.ended[i]) ? data.ended[i] : data.began[i] + 1)));
  const margin = Math.max(to - from, 1);
  look(from - margin, to + margin);
}

function follow(event) {
  const link = event.target.closest("a[data-operations]");
  if (!link || !data) return;
  event.preventDefault();
  const numbers = link.dataset.operations.split(" ").map(Number);
  zoomTo(numbers);
  choose(numbers, link.textContent);
  byId("plots").scrollIntoView({ block: "start", behavior: calm.matches ? "auto" : "smooth" });
  byId("plots").focus({ preventScroll: true });
}

const calm = matchMedia("(prefers-reduced-motion: reduce)");

function nextOffending(forward) {
  const { offending } = data;
  if (!offending.length) return;
  const now = state.chosen ? Math.min(...state.chosen) : forward ? -1 : data.count;
  const next = forward ? offending.find((i) => i > now) ?? offending[0] : offending.findLast((i) => i < now) ?? offending.at(-1);
  zoomTo([next]);
  choose([next], "Complained about");
}

const KEYS = {
  ArrowLeft: () => move(-0.2), ArrowRight: () => move(0.2),
  "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => look(0, data.duration),
  n: () => nextOffending(true), p: () => nextOffending(false), Escape: letGo,
};

function key(event) {
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("button")) return;
  event.preventDefault();
  action();
  redraw();
}

function watchButtons() {
  const actions = { earlier: KEYS.ArrowLeft, later: KEYS.ArrowRight, in: KEYS["+"], out: KEYS["-"], whole: KEYS["0"] };
  for (const [id, action] of Object.entries(actions)) byId(id).addEventListener("click", () => { action(); redraw(); });
  for (const button of document.querySelectorAll("button[data-outcome]")) button.addEventListener("click", () => {
    const kind = +button.dataset.outcome;
    state.shown[kind] = !state.shown[kind];
    button.setAttribute("aria-pressed", state.shown[kind]);
    state.mostRate = mostRate(data, state.shown);
    redraw();
  });
}

async function copy() {
  const code = byId("replay");
  try {
    await navigator.clipboard.writeText(code.textContent);
    byId("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    byId("copy").textContent = "Selected";
  }
}

async function start() {
  data = unpacked(await inflated(byId("data").textContent));
  data.decades = decades(data);
  state.mostRate = mostRate(data, state.shown);
  view.duration = data.duration;
  look(0, data.duration);
  readColours();
  byId("charts").hidden = false;
  const shared = data.lanes.some((label) => label.includes("+"));
  const processes = new Set(data.columns.process).size.toLocaleString("en");
  byId("lanes").textContent = shared
    ? `${processes} processes; those that took the place of one whose operation stays open share its lane`
    : "a lane for each process";
  for (const width of document.querySelectorAll(".width")) width.textContent = lasted(data.windows.width_ms);
  ["operations", "latency", "rate"].forEach((id) => watch(byId(id)));
  watchOverview(byId("overview"));
  watchButtons();
  document.addEventListener("click", follow);
  byId("plots").addEventListener("keydown", key);
  new ResizeObserver(redraw).observe(byId("plots"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); redraw(); });
  redraw();
}

byId("copy").addEventListener("click", copy);
start().catch((error) => {
  byId("trouble").textContent = `The charts cannot be drawn: ${error}`;
  byId("trouble").hidden = false;
});
