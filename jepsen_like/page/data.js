// The data of the run: inflated, and turned into typed arrays that can be looked up by lane and time. Times are in
// milliseconds from here on.

const OK = 0, FAIL = 1, UNKNOWN = 2, OFFENDING = 3;
const OUTCOMES = ["ok", "failed", "unknown"];
const TEXTS = ["name", "key", "asked", "answer", "version", "level", "error", "details"];

async function inflated(packed) {
  const bytes = Uint8Array.from(atob(packed.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// `ended` is when the process was done with an operation. Of one of unknown outcome that is when it was given up, and
// the operation stays open all the same. `magnitude` is the logarithm of how long it took.
function unpacked(document) {
  const { began: gaps, took, ...columns } = document.operations;
  const count = gaps.length, began = new Float64Array(count), ended = new Float64Array(count);
  const magnitude = new Float32Array(count);
  for (let i = 0, now = 0; i < count; i++) {
    began[i] = (now += gaps[i]) / 1000;
    ended[i] = took[i] < 0 ? Infinity : (now + took[i]) / 1000;
    magnitude[i] = Math.log10(Math.max(took[i], 1) / 1000);
  }
  const offends = new Uint8Array(count);
  for (const number of document.offending) offends[number] = 1;
  const data = {
    count, began, ended, magnitude, offends, columns,
    outcome: Uint8Array.from(columns.outcome),
    lanes: document.lanes,
    offending: document.offending,
    duration: Math.max(document.duration / 1000, 1),
    windows: document.windows,
    faults: spans(document.faults),
  };
  data.shades = merged(data.faults);
  data.byLane = byLane(data);
  data.firstOpen = data.byLane.map((lane) => lane.find((i) => data.outcome[i] === UNKNOWN));
  return data;
}

function byLane(data) {
  const lanes = data.lanes.map(() => []);
  for (let i = 0; i < data.count; i++) lanes[data.columns.lane[i]].push(i);
  return lanes.map((numbers) => Int32Array.from(numbers));
}

// Faults of one name share a row and a hue; the rows are those of the strip above the lanes. `next` is when the next of
// the row begins: up to there is room for a label.
function spans(faults) {
  const names = [...new Set(faults.map((fault) => fault.name))].sort();
  const found = faults.map((fault) => ({
    ...fault,
    row: names.indexOf(fault.name),
    began: fault.began / 1000,
    ended: fault.ended === null ? Infinity : fault.ended / 1000,
    next: Infinity,
  }));
  const last = new Map();
  for (const fault of found) {
    if (last.has(fault.row)) last.get(fault.row).next = fault.began;
    last.set(fault.row, fault);
  }
  return found;
}

// Stretches in which at least one fault of a row is at work. Those are shaded once, however many there are.
function merged(faults) {
  const shades = [], last = new Map();
  for (const { row, began, ended } of [...faults].sort((one, other) => one.began - other.began)) {
    const before = last.get(row);
    if (before && began <= before.ended) before.ended = Math.max(before.ended, ended);
    else last.set(row, shades[shades.push({ row, began, ended }) - 1]);
  }
  return shades;
}

// The first of a lane that is not over at `time`. Operations of a lane follow each other, so both ends are sorted.
function firstAfter(data, lane, time) {
  const numbers = data.byLane[lane];
  let low = 0, high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (data.ended[numbers[middle]] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

function textOf(data, i, field) {
  const column = data.columns[field];
  return column.words[column.at[i]];
}

function brief(data, i) {
  const [name, key, asked, answer] = TEXTS.slice(0, 4).map((field) => textOf(data, i, field));
  const question = [name, key, asked].filter(Boolean).join(" ");
  return answer ? `${question} → ${answer}` : question;
}
