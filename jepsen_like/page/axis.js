// What all charts share: the stretch of time in view, colours, the axis of time and the faults behind.

const LEAST_VIEW = 0.05;
const view = { from: 0, to: 1, duration: 1 };
let colours = {};

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  colours = {
    ops: [read("op-ok"), read("op-fail"), read("op-unknown"), read("op-offending")],
    faults: [0, 1, 2, 3, 4, 5].map((row) => read(`fault-${row}`)),
    text: read("text"), quiet: read("quiet"), line: read("line"), grid: read("grid"), card: read("card"),
    accent: read("accent"),
  };
}

function look(from, to) {
  const span = Math.min(Math.max(to - from, LEAST_VIEW), view.duration);
  const middle = (from + to) / 2;
  view.from = Math.min(Math.max(middle - span / 2, 0), view.duration - span);
  view.to = view.from + span;
}

function zoom(factor, around = (view.from + view.to) / 2) {
  const span = Math.min(Math.max((view.to - view.from) * factor, LEAST_VIEW), view.duration);
  const left = around - ((around - view.from) / (view.to - view.from)) * span;
  look(left, left + span);
}

function move(share) {
  const step = (view.to - view.from) * share;
  look(view.from + step, view.to + step);
}

// Where on a canvas the axis of time begins and ends; the same on all.
const axisOf = (canvas) => ({ left: canvas.clientWidth < 560 ? 54 : 66, right: canvas.clientWidth - 8 });

// A canvas of so many CSS pixels, sharp on every screen.
function begin(canvas, height) {
  const width = canvas.clientWidth, ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = '12px system-ui, "DejaVu Sans", sans-serif';
  pen.textBaseline = "middle";
  return { pen, width, height, ...axisOf(canvas) };
}

const xOf = (plot, time) => plot.left + ((time - view.from) / (view.to - view.from)) * (plot.right - plot.left);
const timeAt = (plot, x) => view.from + ((x - plot.left) / (plot.right - plot.left)) * (view.to - view.from);

// Everything drawn by `draw` stays inside the axis.
function inside(plot, top, bottom, draw) {
  plot.pen.save();
  plot.pen.beginPath();
  plot.pen.rect(plot.left, top, plot.right - plot.left, bottom - top);
  plot.pen.clip();
  draw();
  plot.pen.restore();
}

function step(span, most) {
  const least = span / most, magnitude = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((each) => each * magnitude).find((each) => each >= least);
}

function seconds(time, resolution) {
  const digits = Math.max(0, -Math.floor(Math.log10(resolution / 1000) + 1e-9));
  return `${(time / 1000).toFixed(Math.min(digits, 6))} s`;
}

function drawTimes(plot, top, bottom) {
  const { pen } = plot, gap = step(view.to - view.from, Math.max(3, (plot.right - plot.left) / 80));
  pen.fillStyle = colours.quiet;
  pen.textAlign = "center";
  for (let k = Math.ceil(view.from / gap); k * gap <= view.to; k++) {
    const x = xOf(plot, k * gap), label = seconds(k * gap, gap), half = pen.measureText(label).width / 2;
    rule(plot, x, top, bottom, colours.grid);
    if (x + half < plot.width && x - half > 0) pen.fillText(label, x, bottom + 11);
  }
}

function rule(plot, x, top, bottom, colour) {
  const before = plot.pen.fillStyle;
  plot.pen.fillStyle = colour;
  plot.pen.fillRect(Math.round(x), top, 1, bottom - top);
  plot.pen.fillStyle = before;
}

const faultColour = (fault) => colours.faults[fault.row % colours.faults.length];
const inView = (fault) => fault.ended >= view.from && fault.began <= view.to;
const edges = (plot, fault) => {
  const from = Math.max(xOf(plot, fault.began), plot.left - 2), to = Math.min(xOf(plot, fault.ended), plot.right + 2);
  return [from, Math.max(to, from + 2)];
};

// Shades of different faults add up, so that two at once look darker than one.
function shadeFaults(plot, data, top, bottom) {
  const { pen } = plot;
  for (const fault of data.shades.filter(inView)) {
    const [from, to] = edges(plot, fault);
    pen.fillStyle = faultColour(fault);
    pen.globalAlpha = 0.14;
    pen.fillRect(from, top, to - from, bottom - top);
    pen.globalAlpha = 0.7;
    pen.fillRect(from, top, 1, bottom - top);
    pen.globalAlpha = 1;
  }
}

// In two lines, and only where there is room: a label on another label tells nothing.
function nameFaults(plot, data, top) {
  const { pen } = plot, taken = [];
  pen.textAlign = "left";
  for (const fault of data.faults.filter(inView)) {
    const from = Math.max(edges(plot, fault)[0], plot.left), width = pen.measureText(fault.name).width + 10, row = taken.findIndex((x) => x <= from);
    const line = row < 0 ? taken.length : row;
    if (line > 1 || from + width > plot.right) continue;
    taken[line] = from + width;
    pen.fillStyle = faultColour(fault);
    pen.fillText(fault.name, from + 4, top + 9 + line * 14);
  }
}
