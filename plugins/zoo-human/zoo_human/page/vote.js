// Shows the group that the server gives, takes picks by mouse, touch or keys, and sends them.
"use strict";
const PAUSE = 1000;
const $ = (id) => document.getElementById(id);

let group = null; // what is shown: {id, prompt, images, number}
let picks = []; // places of images, in the order in which they were picked
let last = null; // the group that was voted on before
let again = false; // whether the one that is shown was voted on already
let busy = false;

// Kept in this browser: who votes, and how.
function recall(key, otherwise) {
  return localStorage.getItem(key) || otherwise;
}

function guest() {
  const bytes = crypto.getRandomValues(new Uint8Array(2));
  return "guest-" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const voter = () => $("voter").value.trim() || $("voter").dataset.guest;
const ranks = () => $("mode").value === "ranks";
const wanted = () => (ranks() ? group.images : Math.min(2, group.images - 1));

// Best first; images that are not told apart stand together.
function ranking() {
  const others = [...Array(group.images).keys()].filter((place) => !picks.includes(place));
  if (ranks() || group.images === 2) return [...picks.map((place) => [place]), others];
  return [[picks[0]], others, [picks[1]]];
}

const isComplete = () => picks.length >= (ranks() ? 1 : wanted());

function markOf(place) {
  const at = picks.indexOf(place);
  if (at < 0) return "";
  return ranks() ? String(at + 1) : ["best", "worst"][at];
}

function task() {
  if (again) return "Vote again: it takes the place of your last vote.";
  if (ranks()) return "Pick images from the best on; those that you leave out share the last place.";
  if (group.images === 2) return "Pick the better one.";
  return ["Pick the best, then the worst.", "Now the worst.", "Send it, or pick another worst."][picks.length];
}

function drawn(source, alt) {
  const picture = document.createElement("img");
  picture.alt = alt;
  picture.addEventListener("load", () => picture.classList.toggle("tiny", picture.naturalWidth < 200));
  picture.src = source;
  return picture;
}

function button(place) {
  const made = document.createElement("button");
  made.className = "image";
  const picture = drawn(`image/${group.id}/${place}.png`, "");
  const number = document.createElement("span");
  number.className = "place";
  number.textContent = place + 1;
  const mark = document.createElement("span");
  mark.className = "mark";
  made.append(picture, number, mark);
  made.addEventListener("click", () => pick(place));
  return made;
}

function show(next) {
  const hadFocus = $("images").contains(document.activeElement);
  group = next;
  picks = [];
  const places = (count) => [...Array(count).keys()];
  $("images").replaceChildren(...(group ? places(group.images).map(button) : []));
  const input = (place) => drawn(`input/${group.id}/${place}.png`, "what the images were made from");
  $("inputs").replaceChildren(...(group ? places(group.inputs).map(input) : []));
  if (group && hadFocus) $("images").firstChild.focus();
  paint();
}

function paint() {
  $("actions").hidden = !group;
  $("again").hidden = !last || again;
  $("task").textContent = group ? task() : "";
  if (!group) return;
  $("prompt").textContent = group.prompt;
  [...$("images").children].forEach((image, place) => {
    const mark = markOf(place);
    image.querySelector(".mark").textContent = mark;
    if (mark) image.dataset.mark = mark;
    else delete image.dataset.mark;
    image.setAttribute("aria-pressed", String(Boolean(mark)));
    image.setAttribute("aria-label", `image ${place + 1}${mark ? `, ${mark}` : ""}`);
  });
  $("send").disabled = busy || !isComplete();
  $("undo").disabled = !picks.length;
  $("skip").disabled = busy;
}

function pick(place) {
  if (!group || place >= group.images) return;
  const at = picks.indexOf(place);
  if (at >= 0) picks.splice(at, 1);
  else if (picks.length < wanted()) picks.push(place);
  else picks[picks.length - 1] = place; // the last one that may be picked is another now
  paint();
}

function undo() {
  picks.pop();
  paint();
}

async function send(sent) {
  if (!group || busy) return;
  busy = true;
  paint();
  const mine = group;
  try {
    const body = JSON.stringify({ group: mine.id, voter: voter(), ranking: sent });
    const answer = await fetch("vote", { method: "POST", body });
    if (answer.ok) {
      const { in_time } = await answer.json();
      $("news").textContent = in_time ? "" : "The run had gone on; your vote is kept for the table of pairs.";
    } else {
      $("news").textContent = `Not counted: ${(await answer.text()).trim()}`;
    }
    if (answer.ok || answer.status === 410) {
      last = answer.ok ? mine : last;
      again = false;
      show(null);
    }
  } catch {
    $("news").textContent = "Not sent: the run does not answer. Your picks are still here.";
  }
  busy = false;
  paint();
  await update();
}

function skip() {
  if (again) {
    again = false;
    show(null);
    update();
  } else send([]);
}

function changeLast() {
  if (!last || again) return;
  again = true;
  $("news").textContent = "";
  show(last);
}

function clock(seconds) {
  const whole = Math.ceil(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function tell(state) {
  const votes = `${state.votes} vote${state.votes === 1 ? "" : "s"} so far`;
  const where = group && !again && state.group && group.id === state.group.id
    ? `group ${group.number} of ${state.groups}`
    : `${state.done} of ${state.groups} groups done`;
  const parts = state.asking ? [where, votes, `the run goes on in ${clock(state.left)}`] : [votes];
  $("progress").textContent = parts.join(" · ");
  document.title = state.asking ? `(${state.groups - state.done}) zoo: vote` : "zoo: vote";
  if (group) return;
  $("prompt").textContent = state.asking
    ? "You have voted on all. The run waits for others."
    : "Nothing to vote on now: the run makes images. The next ones come by themselves.";
}

// What is shown stays while a person is at it, whatever happens to the run.
function take(state) {
  const other = (state.group && state.group.id) !== (group && group.id);
  if (again || !other) return;
  if (picks.length) $("news").textContent = "The run has gone on. Send your vote all the same: it is kept.";
  else show(state.group);
}

let asked = 0;
async function update() {
  const mine = ++asked;
  try {
    const query = new URLSearchParams({ voter: voter(), at: group ? group.id : "" });
    const answer = await fetch(`state?${query}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const state = await answer.json();
    if (mine !== asked || busy) return; // a vote has gone out meanwhile
    take(state);
    tell(state);
    $("lost").hidden = true;
  } catch {
    $("lost").hidden = false;
  }
}

async function watch() {
  await update();
  setTimeout(watch, PAUSE);
}

const KEYS = {
  Enter: () => isComplete() && send(ranking()),
  Backspace: undo,
  s: skip,
  r: () => {
    $("mode").selectedIndex = 1 - $("mode").selectedIndex;
    $("mode").dispatchEvent(new Event("change"));
  },
};

function step(by) {
  const images = [...$("images").children];
  const at = images.indexOf(document.activeElement);
  images[(at + by + images.length) % images.length]?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  // A button under the focus, but for an image's, keeps Enter to itself, and a field all keys.
  const holder = event.target.closest("input, select, button:not(.image)");
  if (holder && (holder.tagName !== "BUTTON" || event.key === "Enter")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "b") changeLast();
  else if (!group) return;
  else if (/^[0-9]$/.test(key)) pick((Number(key) + 9) % 10);
  else if (key === "ArrowRight" || key === "ArrowLeft") step(key === "ArrowRight" ? 1 : -1);
  else if (key in KEYS) KEYS[key]();
  else return;
  event.preventDefault();
});

$("send").addEventListener("click", () => send(ranking()));
$("undo").addEventListener("click", undo);
$("skip").addEventListener("click", skip);
$("again").addEventListener("click", changeLast);
$("mode").addEventListener("change", () => {
  localStorage.setItem("zoo-mode", $("mode").value);
  picks = [];
  paint();
});
$("voter").addEventListener("change", () => localStorage.setItem("zoo-voter", voter()));
$("size").addEventListener("input", () => {
  localStorage.setItem("zoo-size", $("size").value);
  $("images").style.setProperty("--size", `${$("size").value}px`);
});

$("voter").dataset.guest = recall("zoo-guest", guest());
localStorage.setItem("zoo-guest", $("voter").dataset.guest);
$("voter").value = recall("zoo-voter", $("voter").dataset.guest);
$("mode").value = recall("zoo-mode", "ends");
$("size").value = recall("zoo-size", innerWidth < 480 ? "144" : "224");
$("size").dispatchEvent(new Event("input"));
watch();
