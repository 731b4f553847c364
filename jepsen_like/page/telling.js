// What is said of an operation, a window or a fault, under the pointer and in the panel. Texts of the history reach the
// document as text nodes only.

const byId = (id) => document.getElementById(id);
const state = { shown: [true, true, true], chosen: null, keys: new Set(), mostRate: 1 };
let data, asked = false;

function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    drawOverview(byId("overview"), data, state);
    drawTimeline(byId("operations"), data, state);
    drawLatency(byId("latency"), data, state);
    drawRate(byId("rate"), data, state);
  });
}

const made = (name, text, ...children) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
};

const lasted = (time) => (time >= 100 ? `${Math.round(time).toLocaleString("en")} ms` : `${+time.toPrecision(3)} ms`);

// All that is known of an operation: pairs of a name and a text.
function told(i) {
  const open = data.outcome[i] === UNKNOWN, took = data.ended[i] - data.began[i];
  const given = Number.isFinite(took) ? `given up after ${lasted(took)}, open for ever` : "never answered";
  const listed = [
    ["outcome", OUTCOMES[data.outcome[i]] + (data.offends[i] ? ", complained about" : "")],
    ["process", `${data.columns.process[i]}`],
    ["asked at", seconds(data.began[i], 0.001)],
    ["took", open ? given : lasted(took)],
    ...["version", "level", "error", "details"].map((field) => [field, textOf(data, i, field)]),
    ["meanwhile", overlapping(i).map((fault) => `${fault.name} ${fault.details}`.trim()).join("; ")],
  ];
  return listed.filter(([, text]) => text);
}

function overlapping(i) {
  return data.faults.filter((fault) => fault.began <= data.ended[i] && data.began[i] <= fault.ended).slice(0, 4);
}

function facts(pairs) {
  const list = made("dl");
  list.className = "told";
  for (const [name, text] of pairs) list.append(made("dt", name), made("dd", text));
  return list;
}

function tip(event, title, pairs) {
  const box = byId("tip");
  box.replaceChildren(made("b", title), facts(pairs));
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  const x = event.clientX + 14 + width < innerWidth ? event.clientX + 14 : Math.max(event.clientX - width - 14, 4);
  const y = event.clientY + 14 + height < innerHeight ? event.clientY + 14 : Math.max(event.clientY - height - 14, 4);
  Object.assign(box.style, { left: `${x}px`, top: `${y}px` });
}

function tipOfWindow(event, time) {
  const { width_ms: width, p50_ms, p99_ms } = data.windows;
  const place = Math.min(Math.max(Math.floor(time / width), 0), data.windows.ok.length - 1);
  const pairs = counts(data).map((column, kind) => [OUTCOMES[kind], column[place].toLocaleString("en")]);
  if (p50_ms[place] !== null) pairs.push(["median", lasted(p50_ms[place])], ["p99", lasted(p99_ms[place])]);
  for (const fault of faultsAt(data, time).slice(0, 4)) pairs.push([fault.name, fault.details || "at work"]);
  tip(event, `${seconds(place * width, width)} to ${seconds((place + 1) * width, width)}`, pairs);
}

// A line through all charts at the pointer, or the stretch that is being drawn, as an element above the canvases: the
// pointer moves often, and a picture of everything is dear.
function stretch(from, to) {
  const axis = axisOf(byId("rate")), left = Math.max(xOf(axis, Math.min(from, to)), axis.left);
  const right = Math.min(xOf(axis, Math.max(from, to)), axis.right);
  Object.assign(byId("stretch").style, { left: `${left}px`, width: `${Math.max(right - left, 1)}px` });
  byId("stretch").hidden = Number.isNaN(from) || right < left;
}

function hover(event, canvas) {
  const box = canvas.getBoundingClientRect(), time = timeAt(axisOf(canvas), event.clientX - box.left);
  stretch(time, time);
  if (canvas.id !== "operations") return tipOfWindow(event, time);
  const i = operationAt(canvas, data, state, event.clientX - box.left, event.clientY - box.top);
  if (i !== undefined) return tip(event, `#${i} ${brief(data, i)}`, told(i));
  const fault = event.clientY - box.top < timelineLayout(data).top && faultsAt(data, time);
  if (!fault || !fault.length) return void (byId("tip").hidden = true);
  tip(event, "Faults", fault.map((each) => [each.name, each.details || "at work"]));
}
