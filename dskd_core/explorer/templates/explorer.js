"use strict";
// Search as you type, keys, copying, and what is slow to compute. All pages work without it.
const find = document.querySelector("[data-results]");
const results = find && document.getElementById(find.dataset.results);
let asked;

async function fragment(address) {
  asked?.abort();
  asked = new AbortController();
  const answer = await fetch(address, { signal: asked.signal });
  return answer.text();
}

if (find && results) {
  const before = results.innerHTML;
  find.addEventListener("input", async () => {
    const text = find.value.trim();
    if (!text && !before.trim()) { results.replaceChildren(); return; }
    try {
      results.innerHTML = await fragment("/search?" + new URLSearchParams({ q: text }));
    } catch (error) {
      if (error.name !== "AbortError") results.textContent = "The explorer was stopped; start it again.";
    }
  });
  find.form.addEventListener("submit", (event) => {
    const first = results.querySelector("a");
    if (first && find.value.trim()) { event.preventDefault(); location.assign(first.href); }
  });
}

const filter = document.querySelector("[data-filter]");
filter?.addEventListener("input", () => {
  const text = filter.value.trim().toLowerCase();
  for (const row of document.querySelectorAll("tbody tr[data-key]")) {
    row.hidden = !row.dataset.key.startsWith(text);
  }
});

document.addEventListener("keydown", (event) => {
  const box = find ?? filter;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !typing && box && !event.ctrlKey && !event.metaKey) { event.preventDefault(); box.focus(); box.select(); }
  if (!["ArrowDown", "ArrowUp", "Escape"].includes(event.key)) return;
  const links = [...document.querySelectorAll(".found tr:not([hidden]) a")];
  const here = links.indexOf(document.activeElement);
  if (event.key === "Escape") { if (here >= 0) { box.focus(); box.select(); } return; }
  if (!links.length || (here < 0 && document.activeElement !== box)) return;
  event.preventDefault();
  const next = here + (event.key === "ArrowDown" ? 1 : -1);
  (next < 0 ? box : links[Math.min(next, links.length - 1)]).focus();
});

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1200);
  });
}

// What is computed in the background: say how far it is, then put the part that waits in its place.
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const textOf = async (address) => (await fetch(address)).text();
const STOPPED = "The explorer was stopped; start it again.";

async function follow(working) {
  const bar = working.querySelector("progress"), told = working.querySelector("span");
  for (;;) {
    const job = JSON.parse(await textOf(working.dataset.job));
    if (job.state !== "waiting" && job.state !== "running") return;
    if (job.total) {
      bar.max = job.total;
      bar.value = job.done;
      const [done, total] = [job.done, job.total].map((n) => n.toLocaleString("en"));
      told.textContent = `${bar.getAttribute("aria-label")}: ${done} of ${total} ${job.unit}.`;
    }
    await pause(400);
  }
}

async function replaceLate(working) {
  try {
    await follow(working);
    if (!document.getElementById("late")) {  // the first page, asked for before anything was open
      if (find?.value.trim()) working.remove(); else location.reload();
      return;
    }
    const page = new DOMParser().parseFromString(await textOf(location.href), "text/html");
    document.getElementById("late").replaceWith(page.getElementById("late") ?? page.getElementById("main"));
  } catch { working.textContent = STOPPED; return; }
  const next = document.querySelector("[data-job]");
  if (next) replaceLate(next);
}
const working = document.querySelector("[data-job]");
if (working) replaceLate(working);

// What all senses here are given later, at once: their nearest, and what they make the teacher say.
async function load(late) {
  try {
    late.innerHTML = await textOf(late.dataset.load);
    const working = late.querySelector("[data-job]");
    late.hidden = !working && !late.querySelector(".note");
    if (working) { await follow(working); return load(late); }
    for (const found of late.querySelectorAll("[data-place]")) {
      document.getElementById(found.dataset.place).replaceChildren(...found.childNodes);
    }
  } catch { late.hidden = false; late.textContent = STOPPED; }
}
for (const late of document.querySelectorAll("[data-load]")) {
  for (const place of document.querySelectorAll(`[id^=${late.dataset.fills}-]`)) place.textContent = late.dataset.meanwhile;
  load(late);
}

const show = (event) => {
  const point = event.target.closest?.("[data-point]"), detail = document.getElementById("detail");
  const source = point && document.getElementById(point.dataset.point);
  if (detail && source) detail.replaceChildren(...[...source.childNodes].map((node) => node.cloneNode(true)));
};
document.addEventListener("mouseover", show);
document.addEventListener("focusin", show);
