// Latency and rate over time, and the whole run in small.

const OPEN_ROW = 16, FEW = 400;

// The decades between which every latency lies.
function decades(data) {
  let least = Infinity, most = -Infinity;
  for (let i = 0; i < data.count; i++) {
    if (data.outcome[i] === UNKNOWN) continue;
    least = Math.min(least, data.magnitude[i]);
    most = Math.max(most, data.magnitude[i]);
  }
  if (least > most) [least, most] = [0, 1];
  const low = Math.floor(least), high = Math.ceil(most + 1e-9);
  return [Math.min(low, high - 1), high];
}

function drawLatency(canvas, data, state) {
  const plot = begin(canvas, +canvas.dataset.height), [low, high] = data.decades;
  const top = OPEN_ROW + 32, bottom = plot.height - AXIS;
  const yOf = (magnitude) => bottom - 2 - ((Math.max(magnitude, low) - low) / (high - low)) * (bottom - 2 - top);
  drawTimes(plot, 0, bottom);
  inside(plot, 0, bottom, () => shadeFaults(plot, data, 0, bottom));
  drawDecades(plot, low, high, yOf);
  inside(plot, 0, bottom, () => {
    drawPoints(plot, data, state, yOf, bottom);
    drawPercentiles(plot, data, yOf);
    nameFaults(plot, data, OPEN_ROW);
  });
}

function drawDecades(plot, low, high, yOf) {
  const { pen } = plot, every = high - low > 6 ? 2 : 1;
  pen.textAlign = "right";
  for (let decade = low; decade <= high; decade += every) {
    const y = yOf(decade), label = decade >= 3 ? `${10 ** (decade - 3)} s` : decade < 0 ? `${10 ** (decade + 3)} µs` : `${10 ** decade} ms`;
    pen.fillStyle = colours.grid;
    pen.fillRect(plot.left, Math.round(y), plot.right - plot.left, 1);
    pen.fillStyle = colours.quiet;
    pen.fillText(label, plot.left - 6, y);
  }
  pen.fillText("open", plot.left - 6, OPEN_ROW / 2 + 1);
}

// Of every four pixels one point is drawn, however many operations fall on it; what is not ok is drawn over what is.
function drawPoints(plot, data, state, yOf, bottom) {
  const width = Math.ceil(plot.width / 2), seen = new Uint8Array(width * Math.ceil(bottom / 2 + 1)), later = [];
  const from = firstBegun(data, view.from), to = firstBegun(data, view.to), large = to - from < FEW ? 2 : 0;
  plot.pen.fillStyle = colours.ops[OK];
  plot.pen.globalAlpha = state.chosen ? 0.4 : large ? 0.9 : 0.55;
  for (let i = from; i < to; i++) {
    const kind = data.outcome[i];
    if (kind !== OK || data.offends[i] || state.chosen?.has(i)) later.push(i);
    else if (state.shown[OK]) {
      const x = Math.round(xOf(plot, data.began[i]) / 2), y = Math.round(yOf(data.magnitude[i]) / 2);
      if (seen[y * width + x]) continue;
      seen[y * width + x] = 1;
      plot.pen.fillRect(x * 2 - 1 - large / 2, y * 2 - 1 - large / 2, 2 + large, 2 + large);
    }
  }
  plot.pen.globalAlpha = 1;
  for (const i of later) drawPoint(plot, data, state, i, yOf, seen, width, later.length > FEW);
}

function drawPoint(plot, data, state, i, yOf, seen, width, small) {
  const { pen } = plot, kind = data.outcome[i], picked = state.chosen?.has(i);
  const marked = data.offends[i] || picked;
  if (!marked && !state.shown[kind]) return;
  const x = Math.round(xOf(plot, data.began[i]));
  const y = kind === UNKNOWN ? OPEN_ROW / 2 + 1 : Math.round(yOf(data.magnitude[i]));
  const place = (y >> 1) * width + (x >> 1);
  if (!marked && seen[place] > kind) return;
  seen[place] = kind + 1;
  pen.globalAlpha = state.chosen && !picked ? 0.35 : 1;
  pen.fillStyle = pen.strokeStyle = colours.ops[data.offends[i] ? OFFENDING : kind];
  if (marked) ring(pen, x, y);
  else if (kind === UNKNOWN) upward(pen, x, y);
  else if (small) pen.fillRect(x - 1, y - 1, 2, 2);
  else cross(pen, x, y);
  pen.globalAlpha = 1;
}

function ring(pen, x, y) {
  pen.lineWidth = 2;
  pen.beginPath();
  pen.arc(x, y, 5, 0, 2 * Math.PI);
  pen.stroke();
  pen.fillRect(x - 1, y - 1, 2, 2);
}

function upward(pen, x, y) {
  pen.beginPath();
  pen.moveTo(x - 4, y + 4);
  pen.lineTo(x + 4, y + 4);
  pen.lineTo(x, y - 4);
  pen.fill();
}

function cross(pen, x, y) {
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(x - 2.5, y - 2.5);
  pen.lineTo(x + 2.5, y + 2.5);
  pen.moveTo(x - 2.5, y + 2.5);
  pen.lineTo(x + 2.5, y - 2.5);
  pen.stroke();
}

function firstBegun(data, time) {
  let low = 0, high = data.count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (data.began[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

// A window in which nothing succeeded breaks the lines: there is no latency to show, and none is made up.
function drawPercentiles(plot, data, yOf) {
  const { width_ms: width } = data.windows, { pen } = plot;
  pen.strokeStyle = colours.text;
  pen.lineWidth = 1.5;
  for (const [values, dashes] of [[data.windows.p50_ms, []], [data.windows.p99_ms, [4, 3]]]) {
    pen.setLineDash(dashes);
    pen.beginPath();
    values.forEach((value, place) => {
      const x = xOf(plot, (place + 0.5) * width), before = place > 0 && values[place - 1] !== null;
      if (value !== null) pen[before ? "lineTo" : "moveTo"](x, yOf(Math.log10(Math.max(value, 0.001))));
    });
    pen.stroke();
  }
  pen.setLineDash([]);
}

function drawRate(canvas, data, state) {
  const plot = begin(canvas, +canvas.dataset.height), bottom = plot.height - AXIS, top = 34;
  const most = state.mostRate, yOf = (rate) => bottom - (rate / most) * (bottom - top);
  drawTimes(plot, 0, bottom);
  inside(plot, 0, bottom, () => shadeFaults(plot, data, 0, bottom));
  drawRates(plot, most, yOf);
  inside(plot, 0, bottom, () => {
    drawStacks(plot, data, state, bottom, yOf);
    nameFaults(plot, data, 0);
  });
}

function drawRates(plot, most, yOf) {
  const { pen } = plot, gap = Math.max(step(most, 4), 1);
  pen.textAlign = "right";
  for (let rate = 0; rate <= most; rate += gap) {
    pen.fillStyle = colours.grid;
    pen.fillRect(plot.left, Math.round(yOf(rate)), plot.right - plot.left, 1);
    pen.fillStyle = colours.quiet;
    pen.fillText(rate.toLocaleString("en"), plot.left - 6, yOf(rate));
  }
}

const counts = (data) => [data.windows.ok, data.windows.fail, data.windows.unknown];

// The most of all windows, of what is shown; a fixed scale, so that a dip looks the same however far one has zoomed.
function mostRate(data, shown) {
  const columns = counts(data).filter((_, kind) => shown[kind]), { width_ms: width } = data.windows;
  const sums = data.windows.ok.map((_, place) => columns.reduce((sum, column) => sum + column[place], 0));
  return Math.max(sums.reduce((most, sum) => Math.max(most, sum), 0) / (width / 1000), 1);
}

// Stacked, ok at the bottom. One failure among thousands still has two pixels.
function drawStacks(plot, data, state, bottom, yOf) {
  const { width_ms: width } = data.windows, { pen } = plot, columns = counts(data);
  const from = Math.max(Math.floor(view.from / width), 0), to = Math.min(Math.ceil(view.to / width), data.windows.ok.length);
  for (let place = from; place < to; place++) {
    const x = xOf(plot, place * width), end = xOf(plot, Math.min((place + 1) * width, data.duration));
    let sum = 0, y = bottom;
    columns.forEach((column, kind) => {
      if (!state.shown[kind] || !column[place]) return;
      sum += column[place] / (width / 1000);
      const height = Math.max(y - yOf(sum), kind === OK ? 0.5 : 2);
      pen.fillStyle = colours.ops[kind];
      pen.globalAlpha = kind === OK ? 0.75 : 1;
      pen.fillRect(x, y - height, Math.max(end - x - (end - x > 3 ? 0.5 : 0), 0.5), height);
      y -= height;
    });
  }
  pen.globalAlpha = 1;
}

// The whole run, and in it a frame around what is in view.
function drawOverview(canvas, data, state) {
  const plot = begin(canvas, +canvas.dataset.height), bottom = plot.height - 2, kept = { ...view };
  Object.assign(view, { from: 0, to: data.duration });
  const { pen } = plot, yOf = (rate) => bottom - (rate / state.mostRate) * (bottom - 10);
  pen.fillStyle = colours.grid;
  pen.fillRect(plot.left, 0, plot.right - plot.left, plot.height);
  inside(plot, 0, plot.height, () => {
    shadeFaults(plot, data, 0, plot.height);
    drawStacks(plot, data, state, bottom, yOf);
    pen.fillStyle = colours.ops[OFFENDING];
    for (const i of data.offending) marker(pen, xOf(plot, data.began[i]), 6);
  });
  const from = xOf(plot, kept.from), to = Math.max(xOf(plot, kept.to), from + 3);
  Object.assign(view, kept);
  pen.fillStyle = colours.card;
  pen.globalAlpha = 0.65;
  pen.fillRect(plot.left, 0, from - plot.left, plot.height);
  pen.fillRect(to, 0, plot.right - to, plot.height);
  pen.globalAlpha = 1;
  pen.strokeStyle = colours.accent;
  pen.lineWidth = 2;
  pen.strokeRect(from, 1, to - from, plot.height - 2);
}
