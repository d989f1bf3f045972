"use strict";
// Pairs of segments, one after the other. An answer is kept in this browser until the server has confirmed it; a page without a
// server keeps all answers here and saves them as a file. Texts from files are only ever set as textContent.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const questions = data.questions, SECONDS_PER_STEP = data.seconds_per_step, SECONDS_AT_END = 1, RETRY = 2000;
const NAMES = { first: "left", second: "right", equal: "equal", skip: "skipped" };
const KEYS = { ArrowLeft: "first", ArrowRight: "second", "=": "equal", e: "equal", E: "equal", s: "skip", S: "skip" };
let rater = data.rater, answers = {}, place = 0, shownAt = 0, begun = 0, paused = null, last = "", lost = false, sending = false;
let ended = false, refused = "", again = 0;

// ---- what is kept

const storageKey = () => `jaxrl-label:${data.key}:${rater}`;

function keep() {
  try { localStorage.setItem(storageKey(), JSON.stringify(answers)); } catch (error) { refused = `This browser keeps nothing: ${error.message}`; }
}

function kept() {
  try { return JSON.parse(localStorage.getItem(storageKey()) || "{}"); } catch (error) { return {}; }
}

async function load() {
  const known = new Set(questions.map((question) => question.query)), mine = kept();
  answers = {};
  for (const query in mine) if (known.has(query)) answers[query] = mine[query];
  if (data.server) {
    try {
      const reply = await fetch(`answers?rater=${encodeURIComponent(rater)}`, { cache: "no-store" });
      if (!reply.ok) { byId("problem").textContent = await reply.text(); return false; }
      const theirs = await reply.json();
      for (const query of known) {
        const own = answers[query];
        if (own && own.sent && !(query in theirs)) delete answers[query];  // the file was removed
        if (query in theirs && !(own && !own.sent)) answers[query] = { answer: theirs[query], sent: true };
      }
    } catch (error) { lost = true; }
  }
  return true;
}

const unsent = () => questions.filter((question) => answers[question.query] && !answers[question.query].sent);
const count = () => questions.filter((question) => answers[question.query]).length;
const row = (question) => {
  const { answer, time, seconds } = answers[question.query];
  return { query: question.query, first: question.first, second: question.second, answer, rater, time, seconds };
};

async function send() {
  if (!data.server || sending || ended) return;
  sending = true;
  while (unsent().length) {
    const question = unsent()[0], given = answers[question.query];
    try {
      const reply = await fetch("answers", {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(row(question)),
      });
      if (reply.status === 400) {
        refused = `Pair ${questions.indexOf(question) + 1} was not taken: ${await reply.text()}`;
        delete answers[question.query];
        place = questions.indexOf(question);
        show();
      } else if (!reply.ok) throw new Error(reply.statusText);
      else { given.sent = answers[question.query] === given ? true : given.sent; refused = ""; }
      lost = false;
      keep();
    } catch (error) {
      lost = true;
      clearTimeout(again);
      again = setTimeout(send, RETRY);
      break;
    }
    status();
  }
  sending = false;
  status();
}

// ---- films

const pictures = data.pictures.map((text) => { const image = new Image(); image.src = `data:image/png;base64,${text}`; return image; });

function sizes(segment) {
  const numbers = Object.values(segment.numbers);
  return Math.max(segment.frames.length, ...numbers.map((values) => values.length), 1);
}

function draw(canvas, segment, step, other) {
  const context = canvas.getContext("2d");
  if (segment.frames.length) {
    const image = pictures[segment.frames[Math.min(step, segment.frames.length - 1)]];
    const scale = Math.max(1, Math.floor(420 / image.naturalWidth));
    const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    context.imageSmoothingEnabled = false;
    context.drawImage(image, 0, 0, width, height);
    return;
  }
  curves(context, canvas, segment, step, other);
}

function curves(context, canvas, segment, step, other) {
  const names = Object.keys(segment.numbers), style = getComputedStyle(document.documentElement);
  const height = names.length > 4 ? 70 : 110, left = 66;
  [canvas.width, canvas.height] = [420, Math.max(1, names.length) * height];
  context.font = "12px system-ui, sans-serif";
  names.forEach((name, index) => {
    const both = [...segment.numbers[name], ...(other.numbers[name] || [])].filter((value) => value !== null);
    const low = Math.min(...both), high = Math.max(...both), top = index * height + 20, tall = height - 30;
    const length = Math.max(segment.numbers[name].length, (other.numbers[name] || []).length, 2);
    const x = (t) => left + (412 - left) * t / (length - 1), y = (value) => top + tall * (high > low ? (high - value) / (high - low) : 0.5);
    context.fillStyle = style.getPropertyValue("--ink");
    context.fillText(name, left, index * height + 14, 412 - left);
    context.fillStyle = style.getPropertyValue("--soft");
    context.textAlign = "right";
    if (both.length) { context.fillText(short(high), left - 6, top + 8, left - 8); if (high > low) context.fillText(short(low), left - 6, top + tall, left - 8); }
    context.textAlign = "left";
    context.strokeStyle = style.getPropertyValue("--line");
    context.strokeRect(left, top, 412 - left, tall);
    for (const [until, colour, width] of [[Infinity, "--line", 2], [step, "--accent", 2.5]]) {
      context.strokeStyle = style.getPropertyValue(colour);
      context.fillStyle = context.strokeStyle;
      context.lineWidth = width;
      context.lineJoin = "round";
      context.beginPath();
      let drawing = false, end = null;
      segment.numbers[name].forEach((value, t) => {
        if (value === null) { drawing = false; return; }
        if (t > until) return;
        if (drawing) context.lineTo(x(t), y(value)); else context.moveTo(x(t), y(value));
        drawing = true;
        end = [x(t), y(value)];
      });
      context.stroke();
      context.lineWidth = 1;
      if (end && until < Infinity) { context.beginPath(); context.arc(...end, 4, 0, 7); context.fill(); }
    }
  });
}

const short = (value) => Number(value.toPrecision(3)).toString();

function frame(now) {
  if (!byId("pair").hidden) {
    const question = questions[place], both = [data.segments[question.first], data.segments[question.second]];
    const length = Math.max(...both.map(sizes)), period = length * SECONDS_PER_STEP + SECONDS_AT_END;
    // The time of a frame may lie before that of the key that led here.
    const elapsed = paused === null ? Math.max(0, now - begun) / 1000 : paused, time = elapsed % period, step = Math.min(length - 1, Math.floor(time / SECONDS_PER_STEP));
    ["first", "second"].forEach((side, index) => {
      const own = Math.min(step, sizes(both[index]) - 1);
      draw(byId(side).querySelector("canvas"), both[index], own, both[1 - index]);
      byId(side).querySelector(".time span").style.width = `${100 * (own + 1) / length}%`;
      byId(side).querySelector(".step").textContent = `step ${own} of ${sizes(both[index]) - 1}${own === sizes(both[index]) - 1 ? ", end" : ""}`;
    });
  }
  requestAnimationFrame(frame);
}

// ---- what is shown

function show() {
  const done = place >= questions.length;
  byId("name").hidden = true;
  byId("head").hidden = false;
  byId("pair").hidden = done;
  byId("end").hidden = !done;
  begun = performance.now();
  shownAt = begun;
  paused = null;
  if (!done) for (const button of document.querySelectorAll("[data-answer]")) {
    const given = answers[questions[place].query];
    button.classList.toggle("chosen", Boolean(given) && given.answer === button.dataset.answer);
  }
  status();
}

function status() {
  const total = questions.length, waiting = data.server ? unsent().length : 0;
  byId("where").textContent = place < total ? `${place + 1} of ${total}` : `${count()} of ${total} answered`;
  byId("progress").max = Math.max(total, 1);
  byId("progress").value = count();
  byId("who").textContent = `Answers of ${rater}`;
  byId("last").textContent = last;
  byId("back").disabled = place === 0;
  const kept = `${waiting} answer${waiting === 1 ? " is" : "s are"} kept in this browser and sent as soon as the server is back.`;
  byId("lost").textContent = ended ? "" : refused || (lost ? `No connection to the server. ${waiting ? kept : "It is tried again."}` : "");
  byId("lost").hidden = !byId("lost").textContent;
  if (place >= total) {
    const skipped = questions.filter((question) => answers[question.query] && answers[question.query].answer === "skip").length;
    byId("result").textContent = total ? `${count()} of ${total} pairs are answered${skipped ? `, ${skipped} of them skipped` : ""}.` : "No pair waits for an answer.";
    byId("saved").textContent = ended ? "The answers are saved, and the server has ended. This page can be closed."
      : data.server ? (waiting ? "The last answers are being sent." : "All answers are saved. Finish ends the server.")
      : "The answers are kept in this browser. Save them as a file, and send it to whoever gave you this page.";
    byId("finish").hidden = ended;
    byId("finish").disabled = waiting > 0;
    byId("finish").textContent = data.server ? "Finish (Enter)" : "Save answers (Enter)";
    byId("then").hidden = !ended;
    byId("again").hidden = ended || !total;
  }
  byId("save").hidden = data.server || place >= total;
}

function answer(word) {
  if (place >= questions.length || byId("pair").hidden) return;
  const seconds = Math.round(performance.now() - shownAt) / 1000;
  answers[questions[place].query] = { answer: word, time: new Date().toISOString(), seconds, sent: false };
  keep();
  last = `Pair ${place + 1}: ${NAMES[word]}. Press u to change it.`;
  place += 1;
  while (place < questions.length && answers[questions[place].query]) place += 1;
  if (place >= questions.length) place = next();
  show();
  send();
}

const next = () => { const found = questions.findIndex((question) => !answers[question.query]); return found < 0 ? questions.length : found; };

function back() {
  if (place === 0) return;
  place -= 1;
  const given = answers[questions[place].query];
  last = given ? `Answered before: ${NAMES[given.answer]}. Answer again, or press Enter to keep it.` : "";
  show();
}

function hold() {
  if (paused === null) paused = Math.max(0, performance.now() - begun) / 1000;
  else { begun = performance.now() - 1000 * paused; paused = null; }
}

async function finish() {
  if (byId("finish").disabled || ended) return;
  if (!data.server) { save(); return; }
  try {
    const reply = await fetch("finish", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
    if (!reply.ok) throw new Error(reply.statusText);
    byId("command").textContent = (await reply.json()).next;
    ended = true;
  } catch (error) { lost = true; }
  status();
}

function save() {
  const lines = questions.filter((question) => answers[question.query]).map((question) => `${JSON.stringify(row(question))}\n`);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
  link.download = `answers-${rater.replace(/[^\p{L}\p{N}_-]+/gu, "-")}.jsonl`;
  link.click();
}

async function start() {
  if (!(await load())) { byId("name").hidden = false; return; }
  await Promise.allSettled(pictures.map((image) => image.decode()));
  place = next();
  const held = count();
  last = held && place < questions.length ? `${held} of ${questions.length} are answered already.` : "";
  show();
  send();
  if (lost) setTimeout(recover, RETRY);
}

async function recover() {
  try { await fetch(`answers?rater=${encodeURIComponent(rater)}`); lost = false; send(); status(); } catch (error) { setTimeout(recover, RETRY); }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !byId("name").hidden) return;
  if (event.key === "u" || event.key === "U" || event.key === "Backspace") back();
  else if (event.key === " ") hold();
  else if (event.key === "Enter" && place >= questions.length) finish();
  else if (event.key === "Enter" && answers[questions[place].query]) { place = next(); last = ""; show(); }
  else if (event.key in KEYS) answer(KEYS[event.key]);
  else return;
  event.preventDefault();
});
for (const button of document.querySelectorAll("[data-answer]")) button.addEventListener("click", () => { answer(button.dataset.answer); button.blur(); });
for (const id of ["back", "again"]) byId(id).addEventListener("click", () => { back(); byId(id).blur(); });
byId("finish").addEventListener("click", finish);
byId("save").addEventListener("click", save);
byId("name").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = byId("rater").value.trim();
  if (!/^[\p{L}\p{N}][\p{L}\p{N}_. -]{0,39}$/u.test(given)) { byId("problem").textContent = "A name has 1 to 40 letters, digits, spaces, or any of . _ -"; return; }
  rater = given;
  start();
});
requestAnimationFrame(frame);
if (rater) start(); else { byId("name").hidden = false; byId("rater").focus(); }
