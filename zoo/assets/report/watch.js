// Asks for the page's state every two seconds, and for the page where that has changed.
"use strict";
const PAUSE = 2000;
const page = document.body.dataset;

async function text(address) {
  const answer = await fetch(address, { cache: "no-store" });
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.text();
}

// What is further down comes once the first sections are seen.
async function fillIn() {
  for (const anchor of page.later.split(" ").filter(Boolean)) {
    const made = document.createElement("template");
    made.innerHTML = await text(`${page.base}/section/${anchor}`);
    document.getElementById(anchor)?.replaceWith(made.content);
  }
}

async function update() {
  const state = await text(page.at);
  if (state === page.state) return;
  const fresh = new DOMParser().parseFromString(await text(location.href), "text/html");
  for (const anchor of page.later.split(" ").filter(Boolean)) {
    // The old one stays in its place until its new one is there: nothing jumps.
    const old = document.getElementById(anchor);
    if (old) fresh.getElementById(anchor)?.replaceWith(document.adoptNode(old));
  }
  const opened = [...document.querySelectorAll("details[open] > summary")].map((s) => s.textContent);
  document.querySelector("main").replaceWith(document.adoptNode(fresh.querySelector("main")));
  for (const summary of document.querySelectorAll("details > summary")) {
    if (opened.includes(summary.textContent)) summary.parentElement.open = true;
  }
  document.title = fresh.title;
  page.state = fresh.body.dataset.state;
  await fillIn();
}

async function watch() {
  try {
    await update();
    document.body.classList.remove("lost");
  } catch {
    document.body.classList.add("lost");
  }
  setTimeout(watch, PAUSE);
}

// A choice shows at once.
document.addEventListener("change", (event) => event.target.form?.method === "get" && event.target.form.requestSubmit());
fillIn().catch(() => document.body.classList.add("lost")).finally(() => setTimeout(watch, PAUSE));
