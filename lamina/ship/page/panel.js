// A panel to try one model: it takes pictures, texts and values, and draws the answer. Shared by `lamina serve` and `--to browser`.
"use strict";
const COLOURS = ["#1a66d6", "#d9822b", "#17793a", "#b8336a", "#6b4fbb", "#0f8b8d", "#a67c00", "#c0392b", "#5d737e", "#7a9e1f"];
const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};
const percent = (p) => `${(100 * p).toFixed(p > 0.9995 || p < 0.0005 ? 2 : 1)} %`;

// about: {inputs: [{name, kind, classes, shape}], ...}; ask(values) -> Promise of the answer's JSON; a picture is {file, canvas}.
function panel(root, about, ask, streamed) {
  const two = root.appendChild(make("div", "two-up"));
  const left = two.appendChild(make("div")), right = two.appendChild(make("div", "answer"));
  right.setAttribute("aria-live", "polite");
  const readers = {};
  let last = null;
  const go = async () => {
    const values = {};
    for (const [name, read] of Object.entries(readers)) {
      values[name] = read();
      if (values[name] === undefined) {
        right.replaceChildren(make("p", "wrong", `Give a picture for ${name} first.`));
        return;
      }
    }
    const picture = Object.values(values).find((v) => v && v.canvas);
    last = picture ? picture.canvas : null;
    right.replaceChildren(make("p", "soft", "…"));
    try {
      if (streamed) {
        const text = make("p", "said text", "");
        right.replaceChildren(text);
        await streamed(values, (piece) => { text.textContent += piece; });
      } else {
        const answer = await ask(values);
        right.replaceChildren();
        drawAnswer(right, answer, last);
      }
    } catch (error) {
      const wrong = make("p", "wrong", error.message);
      if (streamed) right.append(wrong); else right.replaceChildren(wrong); // what was written until then stays
    }
    right.dispatchEvent(new CustomEvent("answered", { bubbles: true }));
  };
  const alone = about.inputs.length === 1 && about.inputs[0].kind === "image";
  for (const field of about.inputs) {
    if (field.kind === "image") readers[field.name] = pictureField(left, field, alone ? go : () => {});
    else if (["text", "running", "sentence"].includes(field.kind)) readers[field.name] = textField(left, field);
    else readers[field.name] = valueField(left, field);
  }
  const pictures = Object.values(readers).filter((read) => read.take);
  if (pictures.length) addEventListener("paste", (e) => {
    const file = [...(e.clipboardData?.files || [])][0];
    if (file) (pictures.find((read) => !read()) || pictures[0]).take(file);
  });
  if (!alone) {
    const button = left.appendChild(make("div", "tools")).appendChild(make("button", "main", streamed ? "Write" : "Ask"));
    button.onclick = go;
    left.addEventListener("keydown", (e) => { if (e.key === "Enter" && e.target.tagName === "INPUT") go(); });
  }
  right.append(make("p", "soft", pictures.length === about.inputs.length ? "The answer appears here." : "Fill in what is known; the answer appears here."));
  return { go, show: (answer, canvas) => { right.replaceChildren(); drawAnswer(right, answer, canvas); } };
}

function valueField(parent, field) {
  const label = parent.appendChild(make("label", "field"));
  label.append(make("span", "", field.name));
  let input;
  if (field.kind === "label") {
    input = make("select");
    input.append(new Option("not known", ""), ...field.classes.map((c) => new Option(c, c)));
  } else {
    input = make("input");
    input.type = field.kind === "date" ? "datetime-local" : "text";
    if (field.kind === "number") { input.inputMode = "decimal"; input.placeholder = "not known"; }
  }
  label.append(input);
  return () => {
    if (input.value === "") return null;
    if (field.kind !== "number") return input.value;
    const value = Number(input.value.replace(",", "."));
    return Number.isFinite(value) ? value : input.value;
  };
}

function textField(parent, field) {
  const area = make("textarea");
  area.setAttribute("aria-label", field.name);
  area.placeholder = field.kind === "running" ? "how the text begins" : field.name;
  parent.append(area);
  return () => area.value;
}

function pictureField(parent, field, changed) {
  const shape = field.shape.length === 3 ? field.shape : [3, 224, 224];
  const drop = parent.appendChild(make("div", "drop"));
  drop.tabIndex = 0;
  drop.setAttribute("role", "button");
  drop.setAttribute("aria-label", `${field.name}: choose a picture`);
  const file = make("input");
  file.type = "file"; file.accept = "image/*"; file.hidden = true;
  parent.append(file);
  let held, stream;
  const hint = () => drop.replaceChildren(make("span", "", "Drop a picture here, paste one, or choose a file"));
  const stop = () => { if (stream) stream.getTracks().forEach((t) => t.stop()); stream = null; };
  const take = async (blob) => {
    stop();
    try {
      const bitmap = await createImageBitmap(blob);
      const canvas = make("canvas", Math.max(bitmap.width, bitmap.height) < 80 ? "tiny" : "");
      canvas.width = bitmap.width; canvas.height = bitmap.height;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.fillStyle = "#fff"; context.fillRect(0, 0, canvas.width, canvas.height); context.drawImage(bitmap, 0, 0);
      held = { file: blob, canvas };
      drop.replaceChildren(canvas);
      changed();
    } catch { drop.replaceChildren(make("span", "wrong", "That file is not a picture that this browser reads.")); }
  };
  drop.onclick = () => { if (!drop.querySelector(".pad, video")) file.click(); };
  drop.onkeydown = (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); file.click(); } };
  file.onchange = () => file.files[0] && take(file.files[0]);
  drop.ondragover = (e) => { e.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (e) => { e.preventDefault(); drop.classList.remove("over"); if (e.dataTransfer.files[0]) take(e.dataTransfer.files[0]); };
  const tools = parent.appendChild(make("div", "tools"));
  const button = (text, action) => { const b = tools.appendChild(make("button", "", text)); b.onclick = action; };
  button("Draw", () => { stop(); drop.replaceChildren(pad(shape, (canvas) => { held = { canvas }; changed(); })); });
  if (navigator.mediaDevices && navigator.mediaDevices.getUserMedia) button("Camera", async () => {
    stop();
    try { stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } }); }
    catch { drop.replaceChildren(make("span", "wrong", "The browser gives no camera.")); return; }
    const video = make("video");
    video.srcObject = stream; video.muted = true; video.playsInline = true;
    drop.replaceChildren(video);
    await video.play();
    video.onclick = () => {
      const canvas = make("canvas");
      canvas.width = video.videoWidth; canvas.height = video.videoHeight;
      canvas.getContext("2d").drawImage(video, 0, 0);
      stop(); held = { canvas }; drop.replaceChildren(canvas); changed();
    };
  });
  button("Clear", () => { stop(); held = undefined; hint(); });
  hint();
  const read = () => held;
  read.take = take;
  return read;
}

// A white pen on black for grey nets of tiny pictures (as digits are written), else black on white.
function pad(shape, drawn) {
  const canvas = make("canvas", "pad"), side = 224, grey = shape[0] === 1 && shape[1] <= 64;
  canvas.width = side; canvas.height = Math.round((side * shape[1]) / shape[2]);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = grey ? "#000" : "#fff"; context.fillRect(0, 0, canvas.width, canvas.height);
  context.strokeStyle = grey ? "#fff" : "#000"; context.lineWidth = 18; context.lineCap = "round"; context.lineJoin = "round";
  const at = (e) => { const r = canvas.getBoundingClientRect(); return [((e.clientX - r.left) * canvas.width) / r.width, ((e.clientY - r.top) * canvas.height) / r.height]; };
  let on = false;
  canvas.onpointerdown = (e) => { on = true; canvas.setPointerCapture(e.pointerId); context.beginPath(); context.moveTo(...at(e)); };
  canvas.onpointermove = (e) => { if (on) { context.lineTo(...at(e)); context.stroke(); } };
  canvas.onpointerup = () => {
    on = false;
    const small = make("canvas");
    small.width = Math.min(shape[2], side); small.height = Math.min(shape[1], side);
    const c = small.getContext("2d", { willReadFrequently: true });
    c.imageSmoothingQuality = "high"; c.drawImage(canvas, 0, 0, small.width, small.height);
    drawn(small);
  };
  return canvas;
}

function drawAnswer(parent, answer, canvas) {
  for (const note of answer.notes || []) parent.append(make("p", "wrong small", note));
  if (answer.boxes && canvas) { drawBoxes(parent, answer.boxes, canvas); return; }
  if (answer.runs && canvas) { drawMask(parent, answer, canvas); return; }
  if (answer.png) {
    const image = parent.appendChild(make("img", answer.size[0] < 80 ? "tiny" : ""));
    image.src = `data:image/png;base64,${answer.png}`; image.alt = "the painted picture";
    return;
  }
  if (answer.values) { drawValues(parent, answer); return; }
  if (answer.probabilities) {
    const said = Array.isArray(answer.answer) ? answer.answer.join(", ") || "none" : answer.answer;
    parent.append(make("p", "said", said));
    const bars = parent.appendChild(make("div", "bars"));
    (answer.probabilities instanceof Map ? [...answer.probabilities] : Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1])).slice(0, 10).forEach(([name, p], i) => {
      const track = make("i", i ? "" : "first"), fill = track.appendChild(make("b"));
      fill.style.width = `${100 * p}%`;
      bars.append(make("span", "", name), track, make("span", "", percent(p)));
    });
    return;
  }
  if (typeof answer.answer === "number") { parent.append(make("p", "said", answer.answer.toLocaleString(undefined, { maximumSignificantDigits: 6 }))); return; }
  const text = String(answer.answer);
  parent.append(text ? make("p", "said text", text) : make("p", "soft", "The answer is empty."));
  if (answer.distance !== undefined) parent.append(make("p", "soft", `distance ${answer.distance.toFixed(3)}, same up to ${answer.threshold.toFixed(3)}`));
}

function copyOf(canvas, least) {
  const times = Math.max(1, Math.ceil(least / canvas.width)), copy = make("canvas");
  copy.width = canvas.width * times; copy.height = canvas.height * times;
  const context = copy.getContext("2d");
  context.imageSmoothingEnabled = times === 1; context.drawImage(canvas, 0, 0, copy.width, copy.height);
  return [copy, context];
}

function drawBoxes(parent, boxes, canvas) {
  const [copy, context] = copyOf(canvas, 320), names = [...new Set(boxes.map((b) => b.class))];
  const line = Math.max(2, copy.width / 250);
  context.lineWidth = line; context.font = `600 ${Math.max(12, copy.width / 40)}px system-ui, sans-serif`; context.textBaseline = "bottom";
  for (const b of boxes) {
    const colour = COLOURS[names.indexOf(b.class) % COLOURS.length], x = b.left * copy.width, y = b.top * copy.height;
    context.strokeStyle = colour; context.strokeRect(x, y, (b.right - b.left) * copy.width, (b.bottom - b.top) * copy.height);
    const text = `${b.class} ${Math.round(100 * b.score)}`, width = context.measureText(text).width + 8, height = Math.max(16, copy.width / 30);
    context.fillStyle = colour; context.fillRect(x - line / 2, Math.max(0, y - height), width, height);
    context.fillStyle = "#fff"; context.fillText(text, x + 3, Math.max(height, y) - 1);
  }
  parent.append(copy, make("p", "soft", boxes.length ? `${boxes.length} found: ${names.join(", ")}` : "nothing found"));
}

function drawMask(parent, answer, canvas) {
  const [height, width] = answer.size, mask = make("canvas");
  mask.width = width; mask.height = height;
  const context = mask.getContext("2d"), pixels = context.createImageData(width, height);
  const colour = answer.classes.map((_, i) => COLOURS[i % COLOURS.length].match(/\w\w/g).map((h) => parseInt(h, 16)));
  let at = 0;
  for (const [code, length] of answer.runs) for (let i = 0; i < length; i++) pixels.data.set([...(colour[code] || [0, 0, 0]), 150], 4 * at++);
  context.putImageData(pixels, 0, 0);
  const [copy, over] = copyOf(canvas, 320);
  over.imageSmoothingEnabled = false; over.drawImage(mask, 0, 0, copy.width, copy.height);
  const legend = make("div", "legend");
  for (const [name, share] of Object.entries(answer.answer)) {
    const item = legend.appendChild(make("span")), key = item.appendChild(make("span", "key"));
    key.style.background = COLOURS[answer.classes.indexOf(name) % COLOURS.length];
    item.append(`${name} ${percent(share)}`);
  }
  parent.append(copy, legend);
}

function drawValues(parent, answer) {
  const [height, width] = answer.size, canvas = make("canvas", width < 160 ? "tiny" : ""), { min, max, mean } = answer.answer;
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
  answer.values.flat().forEach((v, i) => { const g = (255 * (v - min)) / (max - min || 1); pixels.data.set([g, g, g, 255], 4 * i); });
  context.putImageData(pixels, 0, 0);
  parent.append(canvas, make("p", "soft", `${min.toPrecision(4)} (black) to ${max.toPrecision(4)} (white), mean ${mean.toPrecision(4)}`));
}
