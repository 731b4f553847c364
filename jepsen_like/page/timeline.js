// Operations: a lane for each process, above them a row for each name of a fault.
//
// What succeeded fills its lane, what failed is low, what is unknown is a block for as long as it was waited for and
// then a line to the right edge, since it may happen at any time. Far out, many operations fall on one pixel: there
// every pixel of a lane shows the worst that it holds, so nothing bad is hidden behind what is well, and a picture
// costs at most one look at each operation in view and one rectangle a pixel.

const FAULT_ROW = 20, AXIS = 22, CROWDED = 3000, LANES_HEIGHT = 460;
const ASKED = UNKNOWN + 2;

function timelineLayout(data) {
  const rows = data.faults.length ? Math.max(...data.faults.map((fault) => fault.row)) + 1 : 0;
  const row = Math.min(24, Math.max(LANES_HEIGHT / Math.max(data.lanes.length, 1), 3));
  const top = rows * FAULT_ROW + (rows ? 6 : 0), bottom = top + row * data.lanes.length;
  return { rows, row, top, bottom, height: bottom + AXIS };
}

function drawTimeline(canvas, data, state) {
  const layout = timelineLayout(data), plot = begin(canvas, layout.height);
  drawTimes(plot, layout.top, layout.bottom);
  inside(plot, 0, layout.bottom, () => {
    shadeFaults(plot, data, layout.top, layout.bottom);
    drawFaultRows(plot, data);
  });
  drawLaneLabels(plot, data, layout);
  inside(plot, layout.top, layout.bottom, () => {
    const lanes = data.byLane.map((_, lane) => inLane(data, lane));
    const crowded = lanes.reduce((sum, [from, to]) => sum + to - from, 0) > CROWDED;
    lanes.forEach(([from, to], lane) => {
      drawOpen(plot, data, layout, state, lane);
      (crowded ? drawCrowd : drawEach)(plot, data, layout, state, lane, from, to);
    });
    drawFaultEdges(plot, data, layout);
    drawOffending(plot, data, layout, state);
  });
}

// The places in its lane of the operations in view, from and to.
function inLane(data, lane) {
  const numbers = data.byLane[lane], from = firstAfter(data, lane, view.from);
  let low = from, high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (data.began[numbers[middle]] <= view.to) low = middle + 1;
    else high = middle;
  }
  return [from, low];
}

function drawFaultRows(plot, data) {
  const { pen } = plot;
  pen.textAlign = "left";
  for (const fault of data.faults.filter(inView)) {
    const [from, to] = edges(plot, fault), top = fault.row * FAULT_ROW;
    pen.fillStyle = faultColour(fault);
    pen.globalAlpha = 0.35;
    pen.fillRect(from, top + 1, to - from, FAULT_ROW - 2);
    pen.globalAlpha = 1;
    pen.fillRect(from, top + 1, 2, FAULT_ROW - 2);
    pen.fillStyle = colours.text;
    const next = Math.min(xOf(plot, fault.next), plot.right);
    labelFault(plot, fault, Math.max(from, plot.left), to, next, top + FAULT_ROW / 2 + 0.5);
  }
}

// Inside its bar, or else behind it, before the next of its row.
function labelFault(plot, fault, from, to, next, y) {
  const { pen } = plot, full = `${fault.name} ${fault.details}`.trim();
  for (const text of [full, fault.name]) {
    const width = pen.measureText(text).width;
    if (width < Math.min(to, next) - from - 10) return pen.fillText(text, from + 6, y);
    if (width < next - to - 10) return pen.fillText(text, to + 5, y);
  }
}

// Lanes full of operations hide the shades, so where a fault begins and ends is drawn over them as well.
function drawFaultEdges(plot, data, layout) {
  for (const fault of data.shades.filter(inView)) {
    plot.pen.globalAlpha = 0.9;
    for (const time of [fault.began, fault.ended]) rule(plot, xOf(plot, time), layout.top, layout.bottom, faultColour(fault));
    plot.pen.globalAlpha = 0.1;
    plot.pen.fillStyle = faultColour(fault);
    const [from, to] = edges(plot, fault);
    plot.pen.fillRect(from, layout.top, to - from, layout.bottom - layout.top);
    plot.pen.globalAlpha = 1;
  }
}

function drawLaneLabels(plot, data, layout) {
  const { pen } = plot, every = Math.ceil(14 / layout.row);
  pen.textAlign = "right";
  pen.fillStyle = colours.quiet;
  if (layout.rows) pen.fillText(layout.rows > 1 ? "faults" : "fault", plot.left - 6, (layout.rows * FAULT_ROW) / 2);
  data.lanes.forEach((label, lane) => {
    const y = layout.top + lane * layout.row;
    pen.fillStyle = colours.grid;
    pen.fillRect(plot.left, Math.round(y), plot.right - plot.left, 1);
    pen.fillStyle = colours.quiet;
    if (lane % every === 0) pen.fillText(label, plot.left - 6, y + layout.row / 2, plot.left - 8);
  });
}

// From the first operation of the lane that stays open, one line is as good as one for each.
function drawOpen(plot, data, layout, state, lane) {
  const first = data.firstOpen[lane];
  if (first === undefined || !state.shown[UNKNOWN] || data.began[first] > view.to) return;
  const thick = layout.row >= 12 ? 2 : 1, y = layout.top + (lane + 1) * layout.row - thick - 1, { pen } = plot;
  pen.fillStyle = colours.ops[UNKNOWN];
  pen.globalAlpha = state.chosen ? 0.3 : 1;
  const from = Math.max(xOf(plot, data.began[first]), plot.left);
  pen.fillRect(from, y, plot.right - from, thick);
  if (layout.row >= 12) arrow(pen, plot.right, y + thick / 2);
  pen.globalAlpha = 1;
}

function arrow(pen, x, y) {
  pen.beginPath();
  pen.moveTo(x - 7, y - 4);
  pen.lineTo(x, y);
  pen.lineTo(x - 7, y + 4);
  pen.fill();
}

// Where in its lane a kind is drawn: [top, height].
function shape(layout, lane, kind) {
  const foot = layout.row >= 12 ? 4 : layout.row >= 6 ? 2 : 1, full = layout.row - foot - 1;
  const top = layout.top + lane * layout.row + 1;
  return kind === FAIL ? [top + full * 0.45, full * 0.55] : [top, full];
}

// What failed is low, so that what succeeded on the same pixel is seen above it: that is kept apart, and drawn first.
function drawCrowd(plot, data, layout, state, lane, from, to) {
  const left = Math.floor(plot.left), width = Math.ceil(plot.right) - left;
  const good = new Uint8Array(width + 1), worst = new Uint8Array(width + 1);
  fillPixels(plot, data, state, lane, from, to, left, width, good, worst);
  for (const pixels of [good, worst]) {
    for (let x = 0, start = 0; x <= width; x++) {
      if (x < width && pixels[x] === pixels[start]) continue;
      const kind = Math.min(pixels[start] - 1, UNKNOWN), wide = pixels[start] === ASKED ? 2 : x - start;
      if (pixels[start]) bar(plot, layout, state.chosen, lane, kind, left + start, wide);
      start = x;
    }
  }
}

// A pixel has 0 for nothing, or the kind plus 1.
function fillPixels(plot, data, state, lane, from, to, left, width, good, worst) {
  const numbers = data.byLane[lane], { began, ended, outcome } = data, { shown } = state, start = view.from;
  const scale = (plot.right - plot.left) / (view.to - start), shift = plot.left - left;
  for (let place = from; place < to; place++) {
    const i = numbers[place], kind = outcome[i];
    if (!shown[kind]) continue;
    const x = Math.max(Math.floor((began[i] - start) * scale + shift), 0);
    const last = Math.min(Math.max(Math.ceil((ended[i] - start) * scale + shift), x + 1), width);
    const pixels = kind === OK ? good : worst;
    for (let pixel = x; pixel < last; pixel++) if (pixels[pixel] <= kind) pixels[pixel] = kind + 1;
    if (kind === UNKNOWN && began[i] >= start) worst[x] = ASKED;
  }
}

// Of what is unknown, the time for which it was waited is pale: the question is what counts, and the line behind it.
function bar(plot, layout, dim, lane, kind, x, width) {
  const { pen } = plot, [top, height] = shape(layout, lane, kind), pale = kind === UNKNOWN && width > 2;
  pen.fillStyle = colours.ops[kind];
  pen.globalAlpha = (dim ? 0.25 : 1) * (pale ? 0.45 : 1);
  pen.fillRect(x, top, width, height);
  pen.globalAlpha = 1;
}

function drawEach(plot, data, layout, state, lane, from, to) {
  const numbers = data.byLane[lane];
  for (let place = from; place < to; place++) {
    const i = numbers[place];
    if (state.shown[data.outcome[i]] && !data.offends[i] && !state.chosen?.has(i)) drawOne(plot, data, layout, state, lane, i);
  }
}

function drawOne(plot, data, layout, state, lane, i) {
  const from = Math.max(xOf(plot, data.began[i]), plot.left - 4), to = Math.min(xOf(plot, data.ended[i]), plot.right + 4);
  const width = Math.max(to - from - 0.5, 2), kind = data.outcome[i], dim = state.chosen && !related(data, state, i);
  bar(plot, layout, dim, lane, kind, from, width);
  if (kind === UNKNOWN) bar(plot, layout, dim, lane, kind, from, 2);
  label(plot, data, layout, lane, i, from, width, dim || kind === UNKNOWN ? colours.text : colours.card);
}

// What happened to the keys of what was chosen is seldom beside the point, and stays as it is.
const related = (data, state, i) => state.keys.has(data.columns.key.at[i]);

// Written into the bar once it is long enough to say something.
function label(plot, data, layout, lane, i, from, width, colour) {
  const [top, height] = shape(layout, lane, OK), start = Math.max(from, plot.left) + 4, room = from + width - start - 4;
  if (layout.row < 15 || room < 30 || data.outcome[i] === FAIL) return;
  const { pen } = plot;
  pen.textAlign = "left";
  pen.fillStyle = colour;
  const text = [brief(data, i), textOf(data, i, "name")].find((each) => pen.measureText(each).width <= room);
  if (text) pen.fillText(text, start, top + height / 2 + 0.5);
}

// Drawn last and never narrower than can be seen. What was chosen has a frame and, beside it, its words.
function drawOffending(plot, data, layout, state) {
  const chosen = state.chosen ? [...state.chosen] : [];
  const drawn = new Set([...data.offending, ...chosen]);
  for (const i of drawn) {
    if (data.began[i] > view.to || (data.ended[i] < view.from && data.outcome[i] !== UNKNOWN)) continue;
    const picked = state.chosen?.has(i), kind = data.offends[i] ? OFFENDING : data.outcome[i];
    plot.pen.globalAlpha = state.chosen && !picked ? 0.4 : 1;
    drawMarked(plot, data, layout, i, kind, picked, chosen.length <= 12);
  }
  plot.pen.globalAlpha = 1;
}

function drawMarked(plot, data, layout, i, kind, picked, worded) {
  const { pen } = plot, lane = data.columns.lane[i], [top, height] = shape(layout, lane, OK);
  const from = xOf(plot, data.began[i]), width = Math.max(Math.min(xOf(plot, data.ended[i]), plot.right + 4) - from, 4);
  pen.fillStyle = colours.ops[kind];
  pen.fillRect(from, top, width, height);
  if (data.offends[i]) marker(pen, from + Math.min(width / 2, 6), top);
  if (!picked) return;
  pen.strokeStyle = colours.text;
  pen.lineWidth = 1.5;
  pen.strokeRect(from - 1.5, top - 0.5, width + 3, height + 1);
  rule(plot, from, layout.top, layout.bottom, colours.ops[kind]);
  label(plot, data, layout, lane, i, from, width, colours.card);
  if (worded && width < 80 && layout.row >= 12) beside(plot, brief(data, i), from, width, top + height / 2);
}

function marker(pen, x, y) {
  pen.beginPath();
  pen.moveTo(x - 5, y - 5);
  pen.lineTo(x + 5, y - 5);
  pen.lineTo(x, y + 3);
  pen.fill();
}

function beside(plot, text, from, width, y) {
  const { pen } = plot, room = pen.measureText(text).width + 10;
  const x = from + width + 4 + room < plot.right ? from + width + 4 : from - room - 4;
  pen.fillStyle = colours.card;
  pen.fillRect(x, y - 9, room, 18);
  pen.strokeStyle = colours.quiet;
  pen.lineWidth = 1;
  pen.strokeRect(x + 0.5, y - 8.5, room - 1, 17);
  pen.fillStyle = colours.text;
  pen.textAlign = "left";
  pen.fillText(text, x + 5, y + 0.5);
}

// The operation under the pointer, or near it: where several are, the worst.
function operationAt(canvas, data, state, x, y) {
  const layout = timelineLayout(data), plot = axisOf(canvas);
  const lane = Math.floor((y - layout.top) / layout.row);
  if (lane < 0 || lane >= data.lanes.length || x < plot.left - 3) return undefined;
  const numbers = data.byLane[lane], from = timeAt(plot, x - 3), to = timeAt(plot, x + 3);
  let found, rank = -1;
  for (let place = firstAfter(data, lane, from); place < numbers.length && data.began[numbers[place]] <= to; place++) {
    const i = numbers[place], kind = data.offends[i] || state.chosen?.has(i) ? OFFENDING : data.outcome[i];
    if (kind > rank && (state.shown[data.outcome[i]] || kind === OFFENDING)) [found, rank] = [i, kind];
  }
  return found;
}

function faultsAt(data, time) {
  return data.faults.filter((fault) => fault.began <= time && time <= fault.ended);
}
