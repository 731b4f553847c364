// Pointers. One drags: with the mouse a stretch to zoom into, with a finger or Shift the view. Two pinch.

function watch(canvas) {
  const down = new Map();
  let start = null;
  const timeOf = (event) => timeAt(start.axis, event.clientX - canvas.getBoundingClientRect().left);
  canvas.addEventListener("pointerdown", (event) => {
    down.set(event.pointerId, event.clientX);
    canvas.setPointerCapture(event.pointerId);
    const moves = event.shiftKey || event.pointerType === "touch" || event.button === 1;
    start = { axis: axisOf(canvas), x: event.clientX, from: view.from, to: view.to, moves, far: false };
    start.time = timeOf(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (down.size === 2 && down.has(event.pointerId)) return pinch(event, down, canvas);
    if (!start || !down.has(event.pointerId)) return event.pointerType === "touch" ? undefined : hover(event, canvas);
    start.far ||= Math.abs(event.clientX - start.x) > 4;
    if (!start.far) return;
    byId("tip").hidden = true;
    if (start.moves) {
      const by = ((start.x - event.clientX) / (start.axis.right - start.axis.left)) * (start.to - start.from);
      look(start.from + by, start.to + by);
      redraw();
    } else stretch(start.time, (start.until = timeOf(event)));
  });
  const up = (event) => {
    const dragged = start?.until !== undefined && [start.time, start.until].sort((one, other) => one - other);
    stretch(NaN, NaN);
    down.delete(event.pointerId);
    if (dragged && event.type === "pointerup") look(...dragged);
    else if (start && !start.far && event.type === "pointerup") click(event, canvas);
    start = null;
    redraw();
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => {
    if (!down.size) stretch(NaN, NaN);
    byId("tip").hidden = true;
  });
  canvas.addEventListener("dblclick", (event) => {
    zoom(0.4, timeAt(axisOf(canvas), event.clientX - canvas.getBoundingClientRect().left));
    redraw();
  });
  canvas.addEventListener("wheel", (event) => wheel(event, canvas), { passive: false });
}

function pinch(event, down, canvas) {
  const [one, other] = down.values(), before = Math.abs(one - other);
  down.set(event.pointerId, event.clientX);
  const [left, right] = down.values(), now = Math.abs(left - right);
  if (before > 8 && now > 8) zoom(before / now, timeAt(axisOf(canvas), (left + right) / 2 - canvas.getBoundingClientRect().left));
  redraw();
}

function click(event, canvas) {
  const box = canvas.getBoundingClientRect();
  if (canvas.id !== "operations") return event.pointerType === "touch" ? hover(event, canvas) : undefined;
  const i = operationAt(canvas, data, state, event.clientX - box.left, event.clientY - box.top);
  if (i === undefined) letGo();
  else choose([i], "Chosen");
}

// A wheel alone scrolls the page, as everywhere; sideways it moves.
function wheel(event, canvas) {
  const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
  if (!event.ctrlKey && !event.metaKey && !sideways) return;
  event.preventDefault();
  const time = timeAt(axisOf(canvas), event.clientX - canvas.getBoundingClientRect().left);
  if (sideways) move(event.deltaX / 800);
  else zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 150), time);
  redraw();
}

function watchOverview(canvas) {
  let held = false;
  const centre = (event) => {
    const { left, right } = axisOf(canvas), x = event.clientX - canvas.getBoundingClientRect().left;
    const middle = ((x - left) / (right - left)) * data.duration, half = (view.to - view.from) / 2;
    look(middle - half, middle + half);
    redraw();
  };
  canvas.addEventListener("pointerdown", (event) => {
    held = true;
    canvas.setPointerCapture(event.pointerId);
    centre(event);
  });
  canvas.addEventListener("pointermove", (event) => held && centre(event));
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (held = false));
}
